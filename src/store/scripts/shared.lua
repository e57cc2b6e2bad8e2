-- Functions that several scripts share; put before each script's own text.
-- Every script: KEYS[1] = a key of the partition (routes the call), ARGV[1] = the partition's prefix.
local P = ARGV[1]

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

-- Redis writes a number of Lua's as a text at some cost; most that are added are these.
local TEXT = { [1] = '1', [-1] = '-1' }

local BUCKETS = 28 -- 0..28: as store::stats::BOUNDS_MS, and one for what is slower

-- The hours of a webhook: a string of binary numbers (layout: store::stats::hours), changed by one command however many
-- attempts a call has. Summed here as `sums` are; all of a call fall into the hour of its `now`.
local WEEK_SLOT, DAY_SLOT = 12, 12 + 4 * (BUCKETS + 1)
local DAYS_AT = 168 * WEEK_SLOT
local HOURS_SIZE = DAYS_AT + 24 * DAY_SLOT
local hours, slots = {}, nil

-- Where the numbers of an hour lie: bytes for the slots, bits (as texts, which are not made anew for each webhook) for the rest.
local function slots_of(hour)
  if not slots then
    local week, day = hour % 168 * WEEK_SLOT, DAYS_AT + hour % 24 * DAY_SLOT
    slots = { hour = hour, week = week, day = day, ok = tostring((week + 4) * 8), fail = tostring((week + 8) * 8),
      sum = tostring((day + 4) * 8), buckets = {} }
  end
  return slots
end

local function bucket_at(bucket)
  local at = slots.buckets[bucket]
  if not at then
    at = tostring((slots.day + 12 + 4 * bucket) * 8)
    slots.buckets[bucket] = at
  end
  return at
end

local function sum_hour(webhook, hour, word, elapsed, bucket)
  local of = hours[webhook]
  if not of then
    slots_of(hour)
    of = { ok = 0, fail = 0 }
    hours[webhook] = of
  end
  of[word] = of[word] + 1
  if bucket == '' then return end
  -- What is the only one of its call stays the text that it came as.
  of.sum = of.sum and of.sum + elapsed or elapsed
  of.buckets = of.buckets or {}
  of.buckets[bucket] = (of.buckets[bucket] or 0) + 1
end

-- Empties the slots of an hour if they stand for an earlier one. The end is written first: so the string has its full size from
-- the start, and Redis never grows it, which would take twice the room.
local function begin_hour(key)
  if redis.call('STRLEN', key) < HOURS_SIZE then redis.call('SETRANGE', key, HOURS_SIZE - 1, '\0') end
  local mark = struct.pack('>I4', slots.hour)
  for at, size in pairs({ [slots.week] = WEEK_SLOT, [slots.day] = DAY_SLOT }) do
    if redis.call('GETRANGE', key, at, at + 3) ~= mark then
      redis.call('SETRANGE', key, at, mark .. string.rep('\0', size - 4))
    end
  end
end

local bits = { 'BITFIELD' }
local function add_bits(at, kind, offset, n)
  bits[at], bits[at + 1], bits[at + 2], bits[at + 3] = 'INCRBY', kind, offset, TEXT[n] or n
  return at + 4
end

local function write_hours(webhook, of)
  local at = 3
  bits[2] = P .. 'hours:' .. webhook
  if not of.begun then begin_hour(bits[2]) end
  if of.ok > 0 then at = add_bits(at, 'u32', slots.ok, of.ok) end
  if of.fail > 0 then at = add_bits(at, 'u32', slots.fail, of.fail) end
  if of.buckets then
    at = add_bits(at, 'i64', slots.sum, of.sum)
    for bucket, n in pairs(of.buckets) do at = add_bits(at, 'u32', bucket_at(bucket), n) end
  end
  redis.call(unpack(bits, 1, at - 1))
end

local function write_sums()
  for key, fields in pairs(sums) do
    for field, n in pairs(fields) do
      if n ~= 0 then guarded(key, '', field, redis.call, 'HINCRBY', key, field, TEXT[n] or n) end
    end
  end
  for webhook, of in pairs(hours) do guarded('hours:', webhook, 'hour', write_hours, webhook, of) end
end

-- Empties a slot of an hour ring that still stands for an earlier hour.
local turned = {}
local function turn_ring(key, mark, hour, fields)
  local memo = key .. mark
  if turned[memo] then return end
  turned[memo] = true
  if redis.call('HGET', key, mark) ~= hour then
    redis.call('HDEL', key, unpack(fields))
    redis.call('HSET', key, mark, hour)
  end
end

local function latency_fields(slot)
  local fields = { slot .. ':sum', slot .. ':n' }
  for i = 0, BUCKETS do fields[#fields + 1] = slot .. ':b' .. i end
  return fields
end

-- One attempt in the statistics of its webhook and of its owner. `bucket` is '' when no request was made.
local function count_attempt(webhook, owner, event_type, word, now, elapsed, bucket)
  local stats, type_field = P .. 'stats:' .. owner, 'e:' .. event_type .. ':' .. word
  add(stats, word, 1)
  add(stats, type_field, 1)
  add(P .. 'types:' .. webhook, type_field, 1)
  local hour = math.floor(now / 3600000)
  sum_hour(webhook, hour, word, elapsed, bucket)
  local week = hour % 168
  turn_ring(stats, week .. ':h', tostring(hour), { week .. ':ok', week .. ':fail' })
  add(stats, week .. ':' .. word, 1)
  if bucket == '' then return end
  local day = hour % 24
  turn_ring(stats, day .. ':lh', tostring(hour), latency_fields(day))
  add(stats, day .. ':sum', elapsed)
  add(stats, day .. ':n', 1)
  add(stats, day .. ':b' .. bucket, 1)
end

-- `n` more deliveries of an owner's webhooks are queued.
local function count_pending(owner, n)
  add(P .. 'stats:' .. owner, 'pending', n)
  add(P .. 'usage', 'pending', n)
end

-- More deliveries of an event are open: its bytes count as pending for the tenant. The record stays until the last of
-- them ends, for it alone knows how many bytes are to be given back then. Every delivery ends: at `delivery.max_age_days`
-- at the latest, also where the webhook is switched off.
local function open_deliveries(event, tenant, n)
  local key = P .. 'event:' .. event
  redis.call('PERSIST', key)
  if redis.call('HINCRBY', key, 'open', n) == n then
    add(P .. 'usage', 't:' .. tenant, redis.call('HSTRLEN', key, 'body'))
  end
end

-- No delivery of an event is open any more: its record ends, later when a delivery has failed for good.
local function let_expire(key, ttl, dead_ttl)
  redis.call('EXPIRE', key, redis.call('HEXISTS', key, 'dead') == 1 and dead_ttl or ttl)
end

-- A delivery of an event has ended: `how` is delivered, dead or dropped.
local function close_delivery(event, tenant, webhook, how, now, attempts, ttl, dead_ttl)
  local key = P .. 'event:' .. event
  if redis.call('EXISTS', key) == 0 then return end
  local ended = how .. ' ' .. now .. ' ' .. attempts
  if how == 'dead' then
    redis.call('HSET', key, 'to:' .. webhook, ended, 'dead', 1)
  else
    redis.call('HSET', key, 'to:' .. webhook, ended)
  end
  if redis.call('HINCRBY', key, 'open', -1) <= 0 then
    add(P .. 'usage', 't:' .. tenant, -redis.call('HSTRLEN', key, 'body'))
    let_expire(key, ttl, dead_ttl)
  end
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
    redis.call('ZREM', P .. 'wake', webhook)
    return -1
  end
  redis.call('ZADD', P .. 'wake', string.format('%.0f', due), webhook)
  return due
end
