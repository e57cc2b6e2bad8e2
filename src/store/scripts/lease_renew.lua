#!lua flags=allow-oom
-- Shows the others that the holder lives. 0 = the lease is not ours any more.
if redis.call('HGET', P .. 'lease', 'token') ~= ARGV[2] then return 0 end
redis.call('HINCRBY', P .. 'lease', 'beat', 1)
return 1
