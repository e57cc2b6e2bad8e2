-- Functions that those scripts share that change queues; put before their own text.

local USAGE, WAKE = P .. 'usage', P .. 'wake'

-- Nothing changes in the queues of a partition but by the holder of its lease.
local function fenced(token)
  return redis.call('HGET', P .. 'lease', 'token') ~= token
end

local FENCED = 'FENCED the lease of the partition has another token'

-- Counters are summed here and written once at the end, however many items a call has.
local sums = {}
local function add(key, field, n)
  local fields = sums[key]
  if not fields then
    fields = {}
    sums[key] = fields
  end
  fields[field] = (fields[field] or 0) + n
end

-- Keeps what cannot be read where a person can look at it. What cannot even be kept is gone, and nothing else with it.
local function quarantine(id, text)
  redis.pcall('XADD', P .. 'quarantine', 'MAXLEN', '~', 1000, '*', 'id', id, 'entry', text)
end

-- Does one part of a call. Redis takes nothing back of a script that fails half-way, so where another hand has put
-- something else than what we write, that costs the part alone: it is set aside under `place` and `name`, counted, and
-- the rest goes on. Returns whether it was done, and its result.
local set_aside = 0
local function guarded(place, name, text, part, ...)
  local done, result = pcall(part, ...)
  if done then return true, result end
  set_aside = set_aside + 1
  quarantine(place .. name, text .. ': ' .. (type(result) == 'table' and result.err or tostring(result)))
  return false
end

-- Redis writes a number of Lua's as a text at some cost, and of its own accord with 17 digits; most are these.
local TEXT = { [0] = '0', [1] = '1', [-1] = '-1', [2] = '2' }
local function text_of(n)
  return TEXT[n] or string.format('%.0f', n)
end

local function increase(key, field, n)
  if n ~= 0 then guarded(key, '', field, redis.call, 'HINCRBY', key, field, text_of(n)) end
end

-- By key: slots of rings among its fields that are to be emptied first where they stand for an earlier turn (`mark` is the
-- field that tells, `turn` what it should hold, `names` gives the slot's fields). Looked at where the sums are written.
local rings = {}

-- Empties what is to be emptied, given what the marks hold; answers the names of the fields that hold nothing then.
local function turn_rings(key, marks, held, at, pairs_of)
  local emptied = {}
  for i, ring in ipairs(marks) do
    if held[at + i] ~= ring.turn then
      local names = ring.names(ring.slot)
      redis.call('HDEL', key, unpack(names))
      for _, name in ipairs(names) do emptied[name] = true end
      pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = ring.mark, ring.turn
    end
  end
  return emptied
end

-- Many fields of one key: two commands are less than one for each. A field that is no number is set aside and stays.
local function increase_all(key, names, fields)
  local marks, wanted, pairs_of = rings[key] or {}, {}, {}
  for i, name in ipairs(names) do wanted[i] = name end
  for i, ring in ipairs(marks) do wanted[#names + i] = ring.mark end
  local values = redis.call('HMGET', key, unpack(wanted))
  local emptied = turn_rings(key, marks, values, #names, pairs_of)
  for i, field in ipairs(names) do
    local value = emptied[field] and 0 or tonumber(values[i] or 0)
    if value then
      pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = field, text_of(value + fields[field])
    else
      set_aside = set_aside + 1
      quarantine(key, field .. ': not a number')
    end
  end
  if #pairs_of > 0 then redis.call('HSET', key, unpack(pairs_of)) end
end

local FEW, MANY = 2, 1000
local function write_sum(key, fields)
  local names = {}
  for field, n in pairs(fields) do
    if n ~= 0 then names[#names + 1] = field end
  end
  if rings[key] or (#names > FEW and #names <= MANY) then
    guarded(key, '', 'sums', increase_all, key, names, fields)
  else
    for _, field in ipairs(names) do increase(key, field, fields[field]) end
  end
end

local function write_sums()
  for key, fields in pairs(sums) do write_sum(key, fields) end
end

-- `n` more deliveries of an owner's webhooks are queued.
local function count_pending(owner, n)
  add(P .. 'stats:' .. owner, 'pending', n)
  add(USAGE, 'pending', n)
end

-- More deliveries of an event are open: its bytes count as pending for the tenant. The record stays until the last of
-- them ends, for it alone knows how many bytes are to be given back then. Every delivery ends: at `delivery.max_age_days`
-- at the latest, also where the webhook is switched off.
local function open_deliveries(event, tenant, n)
  local key = P .. 'event:' .. event
  redis.call('PERSIST', key)
  if redis.call('HINCRBY', key, 'open', n) == n then
    add(USAGE, 't:' .. tenant, redis.call('HSTRLEN', key, 'body'))
  end
end

-- No delivery of an event is open any more: its record ends, later when a delivery has failed for good.
local function let_expire(key, ttl, dead_ttl)
  redis.call('EXPIRE', key, redis.call('HEXISTS', key, 'dead') == 1 and dead_ttl or ttl)
end

-- Records of events whose deliveries have ended in this call: read at the first of each, written by `write_records`.
local records = {}
local function record_of(event, tenant)
  local record = records[event]
  if record == nil then
    local key = P .. 'event:' .. event
    local kept = redis.call('HMGET', key, 'open', 'dead')
    record = kept[1] and { key = key, tenant = tenant, open = kept[1], is_dead = kept[2], fields = {} }
    records[event] = record
  end
  return record
end

-- A delivery of an event has ended: `how` is delivered, dead or dropped. `size` is that of its body, where it is known.
local function close_delivery(event, tenant, webhook, how, now, attempts, size)
  local record = record_of(event, tenant)
  if not record then return end
  record.open = record.open - 1
  local fields = record.fields
  local n = #fields
  fields[n + 1], fields[n + 2] = 'to:' .. webhook, how .. ' ' .. now .. ' ' .. attempts
  record.size = size
  if how == 'dead' and not record.is_dead then
    record.is_dead = true
    fields[n + 3], fields[n + 4] = 'dead', '1'
  end
end

local function write_record(record, ttl, dead_ttl)
  local fields = record.fields
  local n = #fields
  fields[n + 1], fields[n + 2] = 'open', text_of(record.open)
  redis.call('HSET', record.key, unpack(fields))
  if record.open <= 0 then
    add(USAGE, 't:' .. record.tenant, -(record.size or redis.call('HSTRLEN', record.key, 'body')))
    redis.call('EXPIRE', record.key, record.is_dead and dead_ttl or ttl)
  end
end

-- To be called after the last `close_delivery`, before `write_sums`.
local function write_records(ttl, dead_ttl)
  for event, record in pairs(records) do
    if record and #record.fields > 0 then guarded('event:', event, 'end', write_record, record, ttl, dead_ttl) end
  end
  records = {}
end

-- Until when a webhook rests: its endpoint asked for that (`paused`), or its breaker is open (`pause_ends`).
local function rests_until(webhook)
  local kept = redis.call('HMGET', P .. 'count:' .. webhook, 'paused', 'pause_ends')
  return math.max(tonumber(kept[1] or 0) or 0, tonumber(kept[2] or 0) or 0)
end

-- When a webhook wants attention next; false when nothing waits for it.
local function next_wake(webhook, now, paused)
  local due
  if redis.call('XLEN', P .. 'mbox:' .. webhook) > 0 then
    due = 0
  else
    due = tonumber(redis.call('ZRANGE', P .. 'retry:' .. webhook, 0, 0, 'WITHSCORES')[2])
  end
  if due and paused > now and paused > due then due = paused end
  return due or false
end

-- Puts a webhook's next time into the wake index, or takes it out. Returns that time, or -1.
local function rewake(webhook, active, now, paused)
  local due = active and next_wake(webhook, now, paused)
  if not due then
    redis.call('ZREM', WAKE, webhook)
    return -1
  end
  redis.call('ZADD', WAKE, text_of(due), webhook)
  return due
end
