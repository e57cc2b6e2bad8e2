-- What every script begins with: KEYS[1] = a key of the partition (routes the call), ARGV[1] = the partition's prefix.
local P = ARGV[1]
