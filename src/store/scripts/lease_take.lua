#!lua flags=allow-oom
-- Takes a lease that is free, or whose token and beat are still those that were watched standing still.
local _, mine, token, beat = unpack(ARGV)
local held = redis.call('HMGET', P .. 'lease', 'token', 'beat')
if held[1] == mine then return 1 end
if held[1] and (held[1] ~= token or held[2] ~= beat) then return 0 end
redis.call('HSET', P .. 'lease', 'token', mine, 'beat', 0)
return 1
