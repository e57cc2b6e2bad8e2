#!lua flags=allow-oom
-- Gives a lease back, if it is still ours.
if redis.call('HGET', P .. 'lease', 'token') ~= ARGV[2] then return 0 end
return redis.call('DEL', P .. 'lease')
