-- Claims a form that is sent once: 1 = it is claimed by this call, 0 = it was before, 2 = the user has claimed too many.
-- A repeat of a call finds its own claim. What is older than any form that is still taken is forgotten first.
local _, key, form, made, call, oldest, most, keep = unpack(ARGV)
key = P .. key
local claimed = redis.call('HGETALL', key)
for at = 1, #claimed, 2 do
  if tonumber(string.match(claimed[at + 1], '^%d+')) < tonumber(oldest) then redis.call('HDEL', key, claimed[at]) end
end
local own = made .. ' ' .. call
local found = redis.call('HGET', key, form)
if found then return found == own and 1 or 0 end
if redis.call('HLEN', key) >= tonumber(most) then return 2 end
redis.call('HSET', key, form, own)
redis.call('PEXPIRE', key, keep)
return 1
