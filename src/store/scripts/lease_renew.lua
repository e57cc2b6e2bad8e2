#!lua flags=allow-oom
-- Shows the others that the holder lives. Answers 0 when the lease is not ours any more, else 1; and the oldest entry that
-- awaits dispatch, so that the owner notices one that its reader has missed; how many await it; and how many deliveries are
-- queued or between two attempts. The last two are for those who watch, and cost the same however many there are.
if redis.call('HGET', P .. 'lease', 'token') ~= ARGV[2] then return { 0, false, 0, 0 } end
redis.call('HINCRBY', P .. 'lease', 'beat', 1)
local oldest = redis.call('XRANGE', P .. 'events', '-', '+', 'COUNT', 1)[1]
return { 1, oldest and oldest[1] or false, redis.call('XLEN', P .. 'events'),
  tonumber(redis.call('HGET', P .. 'usage', 'pending') or 0) or 0 }
