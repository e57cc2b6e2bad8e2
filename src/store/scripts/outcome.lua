#!lua flags=allow-oom
-- Records what came of attempts. Taking the delivery out of its mailbox or retry set is the test that everything else
-- depends on: 0 = somebody recorded it before, nothing changes. So a repeat of the whole call is harmless.
-- Each part of a record is done by itself: what is broken of one webhook costs neither its retry nor the others theirs.
-- Answers for each item: 1 recorded, 0 not ours to record, 2 there is no such webhook; then how much was set aside.
local log_max, dead_max, closed_ttl, dead_ttl = unpack(ARGV, 3, 6)

local function state_of(webhook, owner)
  local state = webhooks[webhook]
  if state ~= nil then return state end
  local record = redis.call('HGET', P .. 'webhooks', webhook)
  state = begin_state(webhook, owner, record)
  if state then
    state.active = string.find(record, '^%d+ 1 ') ~= nil
    state.mailbox, state.retries = P .. 'mbox:' .. webhook, P .. 'retry:' .. webhook
  end
  return state
end

local function remove(state, from, entry)
  if from == 'mailbox' then return redis.call('XDEL', state.mailbox, entry) end
  return redis.call('ZREM', state.retries, from)
end

local function keep_row(item, state)
  local id = write_row(state, item.row, log_max)
  if item.answer then
    redis.call('XADD', P .. 'answer:' .. item.webhook, 'MAXLEN', '~', log_max, id, 'b', item.answer)
  end
end

-- Switches a webhook off in its record and lets the partition's owner read it again.
local function disable(webhook, reason)
  local record = redis.call('HGET', P .. 'webhooks', webhook)
  local version, rest = string.match(record, '^(%d+) [01] %d+ %S+\n(.*)$')
  if not version then return end
  local head = string.format('%.0f 0 %.0f %s\n', version + 1, now, reason)
  redis.call('HSET', P .. 'webhooks', webhook, head .. rest)
  add_entry('k', 'changed', 'w', webhook)
end

-- A delivery is over: `how` is delivered, dead, or dropped where it can wait nowhere.
local function ended(item, state, how)
  state.closed = state.closed + 1
  if how ~= 'dropped' then count_in(state, how) end
  close_delivery(item.event, item.tenant, item.webhook, how, now_text, item.attempt, tonumber(item.size))
  if how == 'dead' then
    redis.call('XADD', P .. 'dead:' .. item.webhook, 'MAXLEN', '~', dead_max, '*',
      'e', item.id, 't', item.kind, 'n', item.attempt, 'a', now_text)
  end
end

local function part(item, place, ...)
  return guarded(place, item.webhook, item.id ~= '' and item.id or item.entry, ...)
end

local function retry(item, state)
  redis.call('ZADD', state.retries, item.due, item.member)
end

-- What an attempt tells of the endpoint.
local function note(item, state, word)
  note_attempt(state, word)
  local was_failing = state.failing > 0
  if item.signal == 'good' then note_success(state) end
  if item.signal == 'bad' then
    state.row = state.row + 1
    if state.failing == 0 then state.failing = now end
  end
  if item.pauses then
    state.pauses, state.pause_ends, state.turns = tonumber(item.pauses), tonumber(item.pause_ends), state.turns + 1
  end
  if item.paused then state.paused = tonumber(item.paused) end
  if not item.disable then return end
  if item.disable == 'failing' and not was_failing then
    -- Its failures were forgotten since that was decided: it is switched on, or was just meant to be. Whoever decided
    -- it holds the webhook for switched off, and reads it again.
    part(item, 'events:', add_entry, 'k', 'changed', 'w', item.webhook)
    return
  end
  part(item, 'disable:', disable, item.webhook, item.disable)
  state.active = false
end

local function record(item)
  local state = state_of(item.webhook, item.owner)
  if not state then return 2 end
  local place = item.from == 'mailbox' and 'mbox:' or 'retry:'
  local found, removed = part(item, place, remove, state, item.from, item.entry)
  if not found or removed == 0 then return 0 end
  if item.how ~= 'retry' then
    part(item, 'end:', ended, item, state, item.how)
  elseif not part(item, 'retry:', retry, item, state) then
    part(item, 'end:', ended, item, state, 'dropped')
  end
  part(item, 'log:', keep_row, item, state)
  local word = item.how == 'delivered' and 'ok' or 'fail'
  count_attempt(item.webhook, item.owner, item.kind, word, item.elapsed, item.bucket)
  note(item, state, word)
  return 1
end

-- What each item has comes first; then, where there is a `+`, how many names and values of what differs from the usual: it
-- was in the mailbox, arrived at the first attempt, and speaks well of the endpoint.
local HOW = { ['delivered'] = 'delivered', ['delivered+'] = 'delivered', ['retry+'] = 'retry', ['dead+'] = 'dead' }
local FIXED = 8
local function item_at(at, webhook, owner, tenant)
  local how, entry, event, kind, row, elapsed, bucket, size = unpack(ARGV, at, at + FIXED - 1)
  local item = { webhook = webhook, owner = owner, tenant = tenant, how = HOW[how], entry = entry, event = event, kind = kind,
    row = row, elapsed = elapsed, bucket = bucket, size = size, from = 'mailbox', attempt = '1', signal = 'good', id = '' }
  local after = at + FIXED
  if how == 'delivered' then return item, after end
  local more = tonumber(ARGV[after])
  for i = after + 1, after + 2 * more, 2 do item[ARGV[i]] = ARGV[i + 1] end
  return item, after + 1 + 2 * more
end

-- The items of a section come by webhook, and are answered in that order.
local function outcomes(at, till)
  local answers, item = {}, nil
  webhooks = {}
  while at <= till do
    local webhook, owner, tenant, count = unpack(ARGV, at, at + 3)
    at = at + 4
    for _ = 1, tonumber(count) do
      item, at = item_at(at, webhook, owner, tenant)
      answers[#answers + 1] = record(item)
    end
  end
  write_webhooks()
  write_records(closed_ttl, dead_ttl)
  write_counts(now)
  answers[#answers + 1] = set_aside
  return answers
end

return each_section(7, outcomes)
