#!lua
-- Replaces the record of the stated version and tells the partition's owner. A repeat finds its own text and changes
-- nothing. `forget` = 1 clears the failures in a row and the pause that they led to.
local _, webhook, version, record, forget = unpack(ARGV)
local old = redis.call('HGET', P .. 'webhooks', webhook)
if old == record then return 1 end
if not old or string.match(old, '^%d+') ~= version then
  return redis.error_reply('CHANGED the record has another version')
end
redis.call('HSET', P .. 'webhooks', webhook, record)
if forget == '1' then redis.call('HDEL', P .. 'count:' .. webhook, 'row', 'paused') end
redis.call('XADD', P .. 'events', '*', 'k', 'changed', 'w', webhook)
return 1
