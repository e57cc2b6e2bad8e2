#!lua flags=allow-oom
-- Removes what a dead node left, unless it has changed since it was seen.
if redis.call('HGET', KEYS[1], ARGV[2]) ~= ARGV[3] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[2])
