-- Functions that several scripts share. Put before each script's own text.
-- Every script: KEYS[1] = a key of the partition (routes the call), ARGV[1] = the partition's prefix.
local P = ARGV[1]

-- Nothing may change in the queues of a partition but by the holder of its lease.
local function fenced(token)
  return redis.call('HGET', P .. 'lease', 'token') ~= token
end
