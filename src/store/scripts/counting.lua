-- Functions that count attempts; put after the shared ones before the text of the scripts that do.
local BUCKETS = 28 -- 0..28: as store::stats::BOUNDS_MS, and one for what is slower

-- The attempts of this call, by webhook: summed here, and written once at the end to what is kept of the webhook and of its
-- owner. All of them fall into the hour of the call. `bucket` is '' when no request was made.
local attempts = {}

-- Names of fields by what they are made of: a call has few kinds of events and many attempts.
local type_fields = { ok = {}, fail = {} }
local function type_field(event_type, word)
  local field = type_fields[word][event_type]
  if not field then
    field = 'e:' .. event_type .. ':' .. word
    type_fields[word][event_type] = field
  end
  return field
end

local function count_attempt(webhook, owner, event_type, word, elapsed, bucket)
  local of = attempts[webhook]
  if not of then
    of = { owner = owner, ok = 0, fail = 0, n = 0, sum = 0, buckets = {}, types = {}, begun = false }
    attempts[webhook] = of
  end
  of[word] = of[word] + 1
  local field = type_field(event_type, word)
  of.types[field] = (of.types[field] or 0) + 1
  if bucket == '' then return end
  of.n, of.sum = of.n + 1, of.sum + elapsed
  of.buckets[bucket] = (of.buckets[bucket] or 0) + 1
end

-- The hours of a webhook: a string of binary numbers (layout: store::stats::hours), changed by one command however many
-- attempts a call has.
local WEEK_SLOT, DAY_SLOT = 12, 12 + 4 * (BUCKETS + 1)
local DAYS_AT = 168 * WEEK_SLOT
local HOURS_SIZE = DAYS_AT + 24 * DAY_SLOT
local slots

-- The hour of this call and where its numbers lie, made once: in the string, bytes for the slots and bits (as texts) for the
-- rest; in the owner's hash, the names of fields.
local function slots_of(now)
  if not slots then
    local hour = math.floor(now / 3600000)
    local in_week, in_day = hour % 168, hour % 24
    local week, day = in_week * WEEK_SLOT, DAYS_AT + in_day * DAY_SLOT
    slots = { hour = hour, turn = text_of(hour), week = week, day = day, ok = tostring((week + 4) * 8), fail = tostring((week + 8) * 8),
      sum = tostring((day + 4) * 8), buckets = {},
      fields = { week = in_week .. ':', ok = in_week .. ':ok', fail = in_week .. ':fail', day = in_day .. ':',
        sum = in_day .. ':sum', n = in_day .. ':n' } }
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
  bits[at], bits[at + 1], bits[at + 2], bits[at + 3] = 'INCRBY', kind, offset, text_of(n)
  return at + 4
end

local function write_hours(webhook, of)
  local at = 3
  bits[2] = P .. 'hours:' .. webhook
  if not of.begun then begin_hour(bits[2]) end
  if of.ok > 0 then at = add_bits(at, 'u32', slots.ok, of.ok) end
  if of.fail > 0 then at = add_bits(at, 'u32', slots.fail, of.fail) end
  if of.n > 0 then
    at = add_bits(at, 'i64', slots.sum, of.sum)
    for bucket, n in pairs(of.buckets) do at = add_bits(at, 'u32', bucket_at(bucket), n) end
  end
  redis.call(unpack(bits, 1, at - 1))
end

local function attempt_fields(slot)
  return { slot .. 'ok', slot .. 'fail' }
end

local function latency_fields(slot)
  local fields = { slot .. 'sum', slot .. 'n' }
  for i = 0, BUCKETS do fields[#fields + 1] = slot .. 'b' .. i end
  return fields
end

-- The attempts at a webhook in the sums of its types and of its owner.
local function sum_attempts(webhook, of)
  local stats, types, fields = P .. 'stats:' .. of.owner, P .. 'types:' .. webhook, slots.fields
  for field, n in pairs(of.types) do
    add(stats, field, n)
    add(types, field, n)
  end
  local ring = rings[stats]
  if not ring then
    ring = { { slot = fields.week, mark = fields.week .. 'h', turn = slots.turn, names = attempt_fields } }
    rings[stats] = ring
  end
  for _, word in ipairs({ 'ok', 'fail' }) do
    add(stats, word, of[word])
    add(stats, fields[word], of[word])
  end
  if of.n == 0 then return end
  ring[2] = ring[2] or { slot = fields.day, mark = fields.day .. 'lh', turn = slots.turn, names = latency_fields }
  add(stats, fields.sum, of.sum)
  add(stats, fields.n, of.n)
  for bucket, n in pairs(of.buckets) do add(stats, fields.day .. 'b' .. bucket, n) end
end

-- As `write_sums`, with the attempts.
local function write_counts(now)
  for webhook, of in pairs(attempts) do
    slots_of(now)
    guarded('stats:', webhook, 'attempts', sum_attempts, webhook, of)
    guarded('hours:', webhook, 'hour', write_hours, webhook, of)
  end
  write_sums()
end
