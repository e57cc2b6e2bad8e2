#!lua flags=allow-oom
-- Takes a lease that is free, or whose token and beat are still those that were watched standing still; whoever holds it
-- takes it anew with its own token and no beat. A repeat with the same token changes nothing.
local _, mine, token, beat, node = unpack(ARGV)
local held = redis.call('HMGET', P .. 'lease', 'token', 'beat')
if held[1] == mine then return 1 end
if held[1] and (held[1] ~= token or (beat ~= '' and held[2] ~= beat)) then return 0 end
redis.call('HSET', P .. 'lease', 'token', mine, 'beat', 0, 'node', node)
return 1
