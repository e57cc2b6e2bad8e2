#!lua flags=allow-oom
-- Shows the others that the holder lives. Answers 0 when the lease is not ours any more, else 1; and the oldest entry that
-- awaits dispatch, so that the owner notices one that its reader has missed.
if redis.call('HGET', P .. 'lease', 'token') ~= ARGV[2] then return { 0, false } end
redis.call('HINCRBY', P .. 'lease', 'beat', 1)
local oldest = redis.call('XRANGE', P .. 'events', '-', '+', 'COUNT', 1)[1]
return { 1, oldest and oldest[1] or false }
