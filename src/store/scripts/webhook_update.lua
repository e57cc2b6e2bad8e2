#!lua
-- Replaces the record of the stated version and tells the partition's owner. A repeat finds its own text and changes
-- nothing. `forget` = 1 clears the failures in a row, and the pauses that they or the endpoint asked for.
local _, webhook, version, record, forget = unpack(ARGV)
local old = redis.call('HGET', P .. 'webhooks', webhook)
if old and not string.find(record, '\n', 1, true) then
  record = record .. (string.match(old, '\n.*$') or '')
end
if old == record then return 1 end
if not old or string.match(old, '^%d+') ~= version then
  return redis.error_reply('CHANGED the record has another version')
end
redis.call('HSET', P .. 'webhooks', webhook, record)
if forget == '1' then
  redis.call('HDEL', P .. 'count:' .. webhook, 'row', 'paused', 'failing', 'pauses', 'pause_ends')
  redis.call('HINCRBY', P .. 'count:' .. webhook, 'turn', 1)
  redis.call('ZREM', P .. 'breakers', webhook)
end
add_entry('k', 'changed', 'w', webhook)
return 1
