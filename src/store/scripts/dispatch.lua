#!lua
-- Takes entries out of the events stream and puts each into the mailboxes of its targets.
-- Removing the entry is the test that makes a repeat of the whole call harmless: 0 = was done before, skip.
-- A fan-out too large for one call comes in chunks; there the event's record tells which targets have it already.
-- Answers for each item: 0 skipped, 1 done, or the webhooks whose queue was full; for `changed` when it wakes (-1 never); for `arrived`
-- 1 or a list of 1, 2, 3 (`record_arrival`).
-- A webhook whose queue is not one is named with a `!` before it. The last answer is how much was set aside.
-- An event that has arrived at all its targets before its dispatch (policy::early) goes into no mailbox: the call that takes
-- it out of the stream records that it was delivered. That is about half of the work of a dispatch and an outcome.
local closed_ttl, dead_ttl, max_pending, log_max, dead_max = unpack(ARGV, 3, 7)
max_pending = tonumber(max_pending)
local at
local function take(n)
  at = at + n
  return unpack(ARGV, at - n, at - 1)
end

-- What is known of the queues that this call puts entries into: how long each was, and how many went in.
local queues
local function queue_of(webhook, owner)
  local queue = queues[webhook]
  if not queue then
    local mailbox = P .. 'mbox:' .. webhook
    local entries = redis.call('XLEN', mailbox)
    queue = { mailbox = mailbox, owner = owner, added = 0, is_empty = entries == 0,
      length = entries + redis.call('ZCARD', P .. 'retry:' .. webhook) }
    queues[webhook] = queue
  end
  return queue
end

-- The queue is full: the delivery ends here, in the log and among the dead.
local function overflow(webhook, owner, id, kind)
  local record = redis.call('HGET', P .. 'webhooks', webhook)
  if not record then return end
  -- A record that cannot be read costs the row its URL, not the partition its dispatch.
  local readable, settings = pcall(cjson.decode, string.match(record, '\n(.*)$') or '')
  local url = readable and type(settings) == 'table' and settings.url or ''
  local row = cjson.encode({
    e = id, t = kind, u = url, a = now, n = 1, d = 0, k = 'overflow', m = 'the queue of the webhook is full',
  })
  redis.call('XADD', P .. 'log:' .. webhook, 'MAXLEN', '~', log_max, '*', 'r', row)
  redis.call('XADD', P .. 'dead:' .. webhook, 'MAXLEN', '~', dead_max, '*', 'e', id, 't', kind, 'n', 0, 'a', now_text)
  count_attempt(webhook, owner, kind, 'fail', 0, '')
  add(P .. 'count:' .. webhook, 'fail', 1)
  add(P .. 'count:' .. webhook, 'dead', 1)
  add(P .. 'stats:' .. owner, 'dead', 1)
end

local function enqueue(queue, entry, webhook, id)
  local added = redis.pcall('XADD', queue.mailbox, entry, 'e', id)
  if type(added) == 'table' and added.err then
    -- A mailbox takes larger ids only. None of ours is ever smaller, but the entry is out of the stream by now: whatever
    -- another hand has put there must not lose it. It waits among the retries, which have no such order.
    if not string.find(added.err, 'equal or smaller', 1, true) then error(added.err) end
    redis.call('ZADD', P .. 'retry:' .. webhook, now, entry .. ' 1 ' .. id)
  end
  -- While entries wait in it, its webhook has its place in the index.
  if queue.is_empty then
    redis.call('ZADD', WAKE, '0', webhook)
    queue.is_empty = false
  end
  queue.added = queue.added + 1
end

-- Queues an entry for one webhook; whether it was full.
local function put(entry, webhook, owner, id, kind)
  local queue = queue_of(webhook, owner)
  if queue.length + queue.added >= max_pending then
    overflow(webhook, owner, id, kind)
    return true
  end
  enqueue(queue, entry, webhook, id)
  return false
end

-- Takes the events of a section out of the stream, as far as they still lie there. They come in its order and leave it in
-- its order: where one is found, so are those behind it, and go in one command.
local removed
local function remove(first, till)
  removed = {}
  local entries, at = {}, first
  while at <= till do
    -- Only events come in batches; of one that comes in several calls the last removes it.
    if ARGV[at] == 'arrived' then
      entries[#entries + 1] = ARGV[at + 1]
      at = at + 8 + 5 * ARGV[at + 7]
    elseif ARGV[at] == 'event' and ARGV[at + 1] == 'whole' then
      entries[#entries + 1] = ARGV[at + 2]
      at = at + 12 + 2 * ARGV[at + 11]
    else
      return
    end
  end
  local stream = P .. 'events'
  for i, entry in ipairs(entries) do
    removed[entry] = redis.call('XDEL', stream, entry)
    if removed[entry] == 1 then
      if i < #entries then redis.call('XDEL', stream, unpack(entries, i + 1)) end
      for later = i + 1, #entries do removed[entries[later]] = 1 end
      return
    end
  end
end

-- Who subscribes to an event and does not get it (`<webhook>=<reason>,…`), as fields of its record. What that says already stays.
local function add_skipped(fields, skipped, key, has_record)
  for webhook, reason in string.gmatch(skipped, '([^,=]+)=([^,]+)') do
    local n, field = #fields, 'to:' .. webhook
    if not has_record or redis.call('HEXISTS', key, field) == 0 then
      fields[n + 1], fields[n + 2] = field, 'skipped ' .. now_text .. ' ' .. reason
    end
  end
end

local handle = {}

-- mode: `whole` (one call has all targets), `part` or `last` (of several calls)
function handle.event()
  local mode, entry, id, event, kind, tenant, keep, body, trace, skipped, n = take(11)
  local targets = { take(2 * tonumber(n)) }
  if mode == 'part' and #redis.call('XRANGE', P .. 'events', entry, entry) == 0 then return 0 end
  if mode ~= 'part' and (removed[entry] or redis.call('XDEL', P .. 'events', entry)) == 0 then return 0 end
  removed[entry] = 0
  if mode ~= 'part' then add(USAGE, 'undispatched', -#body) end
  if #targets == 0 and keep == '0' and skipped == '' then return 1 end
  local key, opened, full = P .. 'event:' .. event, 0, {}
  -- It has one where an earlier chunk made it, or where the same id was published again after all that tells a repeat is gone.
  local has_record = redis.call('EXISTS', key) == 1
  local fields = { 'type', kind }
  -- Who asks why nobody here got it finds the event itself at the tenant's home.
  if #targets > 0 or keep == '1' then fields[3], fields[4] = 'body', body end
  if trace ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'trace', trace
  end
  for i = 1, #targets, 2 do
    local webhook, owner = targets[i], targets[i + 1]
    if mode == 'whole' or not has_record or not string.find(redis.call('HGET', key, 'to:' .. webhook) or 'skipped', '^[pd]') then
      fields[#fields + 1] = 'to:' .. webhook
      local whole, was_full = guarded('mbox:', webhook, id, put, entry, webhook, owner, id, kind)
      if whole and not was_full then
        opened = opened + 1
        fields[#fields + 1] = 'pending'
      else
        full[#full + 1] = whole and webhook or '!' .. webhook
        fields[#fields + 1] = (whole and 'dead ' or 'dropped ') .. now .. ' 0'
      end
    end
  end
  if #full > 0 then
    fields[#fields + 1], fields[#fields + 2] = 'dead', '1'
  end
  add_skipped(fields, skipped, key, has_record)
  if opened > 0 and not has_record then
    fields[#fields + 1], fields[#fields + 2] = 'open', text_of(opened)
    add(USAGE, 't:' .. tenant, #body)
  end
  redis.call('HSET', key, unpack(fields))
  if opened > 0 then
    if has_record then open_deliveries(event, tenant, opened) end
  elseif tonumber(redis.call('HGET', key, 'open') or 0) <= 0 then
    let_expire(key, closed_ttl, dead_ttl)
  end
  return #full > 0 and full or 1
end

-- What a record says of a target that took the event at its first attempt.
local DELIVERED = 'delivered ' .. now_text .. ' 1'

-- The record of an event that has arrived everywhere (store::delivered_record), or, where the same id was published before, after all that
-- tells a repeat was gone, what is added to that one's.
local function write_arrived(event, kind, trace, targets, skipped, body)
  local key = P .. 'event:' .. event
  if redis.call('EXISTS', key) == 0 then
    local head = kind .. ' ' .. (trace ~= '' and trace or '-') .. ' ' .. now_text .. ' ' .. table.concat(targets, ',')
    if skipped ~= '' then head = head .. ',' .. skipped end
    redis.call('SET', P .. 'delivered:' .. event, head .. '\n' .. body, 'EX', closed_ttl)
    return
  end
  local fields = { 'body', body, 'type', kind }
  if trace ~= '' then
    fields[5], fields[6] = 'trace', trace
  end
  for _, webhook in ipairs(targets) do
    local n = #fields
    fields[n + 1], fields[n + 2] = 'to:' .. webhook, DELIVERED
  end
  add_skipped(fields, skipped, key, true)
  redis.call('HSET', key, unpack(fields))
  if tonumber(redis.call('HGET', key, 'open') or 0) <= 0 then let_expire(key, closed_ttl, dead_ttl) end
end

-- Answers 1 where another arrival in this hour will change nothing but counts (store::arrivals), 3 where it will change more,
-- 2 where there is no such webhook.
local function record_arrival(webhook, owner, kind, row, elapsed, bucket)
  local state = webhooks[webhook]
  if state == nil then state = begin_state(webhook, owner, redis.call('HEXISTS', P .. 'webhooks', webhook) == 1) end
  if not state then return 2 end
  local has_row = guarded('log:', webhook, 'row', write_row, state, row, log_max)
  count_attempt(webhook, owner, kind, 'ok', elapsed, bucket)
  note_attempt(state, 'ok')
  -- Newer failures may have been recorded before it: what they opened, a probe decides.
  if state.kept.pauses == 0 then note_success(state) end
  count_in(state, 'delivered')
  return has_row and state.kept.pauses == 0 and 1 or 3
end

-- An event that every target has taken. Answers 1 if all answer that, or for each what `record_arrival` does.
function handle.arrived()
  local entry, event, kind, body, trace, skipped, n = take(7)
  local first, last = at, at + 5 * n - 1
  at = last + 1
  if (removed[entry] or redis.call('XDEL', P .. 'events', entry)) == 0 then return 0 end
  removed[entry] = 0
  add(USAGE, 'undispatched', -#body)
  local targets, all_steady, answers = {}, true, {}
  for i = first, last, 5 do
    local webhook, owner, row, elapsed, bucket = unpack(ARGV, i, i + 4)
    local whole, answer = guarded('end:', webhook, entry, record_arrival, webhook, owner, kind, row, elapsed, bucket)
    targets[#targets + 1] = webhook
    answers[#answers + 1] = whole and answer or 3
    all_steady = all_steady and answers[#answers] == 1
  end
  write_arrived(event, kind, trace, targets, skipped, body)
  return all_steady and 1 or answers
end

-- A stored event is queued for one webhook again, under the id of the control entry.
function handle.resend()
  local entry, id, event, tenant, webhook, owner = take(6)
  if redis.call('XDEL', P .. 'events', entry) == 0 then return 0 end
  if redis.call('HEXISTS', P .. 'event:' .. event, 'body') == 0 then return 0 end
  if redis.call('HEXISTS', P .. 'webhooks', webhook) == 0 then return 0 end
  local key = P .. 'event:' .. event
  if put(entry, webhook, owner, id, redis.call('HGET', key, 'type') or 'unknown') then
    -- What an earlier dispatch says of the delivery stays: that one may still wait or have arrived.
    redis.call('HSET', key, 'dead', 1)
    if tonumber(redis.call('HGET', key, 'open') or 0) <= 0 then let_expire(key, closed_ttl, dead_ttl) end
    return { webhook }
  end
  redis.call('HSET', key, 'to:' .. webhook, 'pending')
  open_deliveries(event, tenant, 1)
  return 1
end

-- A webhook's record was written: what waits for it wakes or sleeps accordingly.
function handle.changed()
  local entry, webhook, active = take(3)
  redis.call('XDEL', P .. 'events', entry)
  return rewake(webhook, active == '1', now, rests_until(webhook))
end

-- A webhook is gone and its queue has been emptied: the rest goes.
function handle.deleted()
  local entry, webhook = take(2)
  redis.call('XDEL', P .. 'events', entry)
  redis.call('ZREM', WAKE, webhook)
  redis.call('ZREM', P .. 'breakers', webhook)
  redis.call('SREM', P .. 'recoveries', webhook)
  for _, kind in ipairs({ 'mbox', 'retry', 'log', 'answer', 'dead', 'count', 'hours', 'types', 'testing', 'recovery' }) do
    redis.call('UNLINK', P .. kind .. ':' .. webhook)
  end
  return 1
end

-- A control entry that has nothing to do any more.
function handle.skip()
  return redis.call('XDEL', P .. 'events', take(1))
end

-- Takes back what a publication counted for its entry. An entry from another hand was never counted, so this ends at 0.
local function uncount(fields)
  local usage, body = USAGE, nil
  for i = 1, #fields, 2 do
    if fields[i] == 'b' then body = fields[i + 1] end
  end
  if not body then return end
  local summed = sums[usage] and sums[usage].undispatched or 0
  local counted = tonumber(redis.call('HGET', usage, 'undispatched') or 0) + summed
  add(usage, 'undispatched', -math.max(0, math.min(#body, counted)))
end

-- An entry that cannot be read is set aside; the partition goes on.
function handle.quarantine()
  local entry, text = take(2)
  local found = redis.call('XRANGE', P .. 'events', entry, entry)[1]
  if not found then return 0 end
  redis.call('XDEL', P .. 'events', entry)
  uncount(found[2])
  quarantine(entry, text)
  return 1
end

-- What fails as a whole has left the stream, and is left to those who find it in the quarantine; the others go on.
local function dispatch(first, till)
  queues, webhooks, at = {}, {}, first
  -- Entries leave the stream in its order, or a mailbox would refuse the older one. One that lies before the first of
  -- these is unknown to the caller (Redis has gone back to a moment ago): who owns the partition must read it anew.
  local oldest = ARGV[at] == 'event' and ARGV[at + 2] or ARGV[at + 1]
  if #redis.call('XRANGE', P .. 'events', '-', '(' .. oldest, 'COUNT', 1) > 0 then return FENCED end
  -- Every webhook's deliveries need this key: if it is not what it should be, let that show before anything is taken out.
  redis.call('ZCARD', WAKE)
  remove(at, till)
  local answers = {}
  while at <= till do
    local kind, entry = ARGV[at], ARGV[at + (ARGV[at] == 'event' and 2 or 1)]
    at = at + 1
    local _, answer = guarded('events ', entry, kind, handle[kind])
    answers[#answers + 1] = answer or 0
  end
  for _, queue in pairs(queues) do count_pending(queue.owner, queue.added) end
  write_webhooks()
  write_counts(now)
  answers[#answers + 1] = set_aside
  return answers
end

return each_section(8, dispatch)
