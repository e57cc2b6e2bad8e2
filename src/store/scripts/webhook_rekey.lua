#!lua
-- Puts another text of the same record in the place of the stated one: the same webhook, encrypted otherwise or with less
-- of what is over. No change that anybody has to be told. A repeat finds its own text and changes nothing.
-- Answers 1 replaced, 0 the record is another by now, or gone.
local _, webhook, stated, text = unpack(ARGV)
local stored = redis.call('HGET', P .. 'webhooks', webhook)
if stored == text then return 1 end
if stored ~= stated then return 0 end
redis.call('HSET', P .. 'webhooks', webhook, text)
return 1
