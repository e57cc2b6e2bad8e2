-- What every script begins with: KEYS[1] = a key of the partition (routes the call), ARGV[1] = the partition's prefix.
local P = ARGV[1]

-- Puts an entry into the events stream and counts it (store::publications::fresh). A count that fails costs no entry.
local function add_entry(...)
  local entry = redis.call('XADD', P .. 'events', '*', ...)
  redis.pcall('HINCRBY', P .. 'usage', 'added', 1)
  return entry
end
