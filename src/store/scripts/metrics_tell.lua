#!lua flags=allow-oom
-- Keeps what a node tells of its last minute, with the time of Redis. A node that has left tells nothing more.
local _, nodes, id, snapshot = unpack(ARGV)
if redis.call('HEXISTS', nodes, id) == 0 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], id, string.format('%.0f %s', time[1] * 1000 + math.floor(time[2] / 1000), snapshot))
return 1
