#!lua flags=allow-oom
-- Removes what a dead node left, unless it has changed since it was seen.
local _, id, seen, metrics = unpack(ARGV)
if redis.call('HGET', KEYS[1], id) ~= seen then return 0 end
redis.call('HDEL', metrics, id)
return redis.call('HDEL', KEYS[1], id)
