#!lua flags=allow-oom
-- Records what came of attempts. Taking the delivery out of its mailbox or retry set is the test that everything else
-- depends on: 0 = somebody recorded it before, nothing changes. So a repeat of the whole call is harmless.
-- Each part of a record is done by itself: what is broken of one webhook costs neither its retry nor the others theirs.
-- Answers for each item: 1 recorded, 0 not ours to record, 2 there is no such webhook; then how much was set aside.
local _, token, now, log_max, dead_max, closed_ttl, dead_ttl = unpack(ARGV, 1, 7)
if fenced(token) then return redis.error_reply(FENCED) end
local now_text = now
now = tonumber(now)
local this_hour = math.floor(now / 3600000)

-- What is read of a webhook's `count:` before, and written once after, all of its items.
local TOTALS = { 'ok', 'fail', 'delivered', 'dead' }
local KEPT = { 'row', 'paused', 'failing', 'pauses', 'pause_ends', 'hour', unpack(TOTALS) }
local webhooks = {}
local function kept_of(webhook)
  local _, values = guarded('count:', webhook, 'read', redis.call, 'HMGET', P .. 'count:' .. webhook, unpack(KEPT))
  local kept = {}
  for i, name in ipairs(KEPT) do kept[name] = values and tonumber(values[i] or 0) or 0 end
  return kept
end

local function state_of(webhook)
  local state = webhooks[webhook]
  if not state then
    local record, kept = redis.call('HGET', P .. 'webhooks', webhook), kept_of(webhook)
    state = { exists = record ~= false, row = kept.row, paused = kept.paused, kept = kept, more = {},
      failing = kept.failing, pauses = kept.pauses, pause_ends = kept.pause_ends, turns = 0,
      active = record and string.match(record, '^%d+ 1 ') ~= nil }
    webhooks[webhook] = state
  end
  return state
end

local function count_in(state, name)
  state.more[name] = (state.more[name] or 0) + 1
end

local function remove(webhook, from, entry)
  if from == 'mailbox' then return redis.call('XDEL', P .. 'mbox:' .. webhook, entry) end
  return redis.call('ZREM', P .. 'retry:' .. webhook, from)
end

local function write_row(webhook, row, answer)
  local id = redis.call('XADD', P .. 'log:' .. webhook, 'MAXLEN', '~', log_max, '*', 'r', row)
  if answer ~= '' then redis.call('XADD', P .. 'answer:' .. webhook, 'MAXLEN', '~', log_max, id, 'b', answer) end
end

-- Switches a webhook off in its record and lets the partition's owner read it again.
local function disable(webhook, reason)
  local record = redis.call('HGET', P .. 'webhooks', webhook)
  local version, rest = string.match(record, '^(%d+) [01] %d+ %S+\n(.*)$')
  if not version then return end
  local head = string.format('%.0f 0 %.0f %s\n', version + 1, now, reason)
  redis.call('HSET', P .. 'webhooks', webhook, head .. rest)
  redis.call('XADD', P .. 'events', '*', 'k', 'changed', 'w', webhook)
end

local function ended(item, state, how)
  local stats = P .. 'stats:' .. item.owner
  count_pending(item.owner, -1)
  add(stats, how, 1)
  count_in(state, how)
  close_delivery(item.event, item.tenant, item.webhook, how, now_text, item.attempt, closed_ttl, dead_ttl)
  if how == 'dead' then
    redis.call('XADD', P .. 'dead:' .. item.webhook, 'MAXLEN', '~', dead_max, '*',
      'e', item.id, 't', item.kind, 'n', item.attempt)
  end
end

local NAMES = { 'webhook', 'owner', 'tenant', 'from', 'entry', 'event', 'id', 'kind', 'then_what', 'due', 'member',
  'attempt', 'row', 'answer', 'elapsed', 'bucket', 'paused', 'disable', 'signal', 'pauses', 'pause_ends' }

local function part(item, place, ...)
  return guarded(place, item.webhook, item.id, ...)
end

local function retry(item)
  redis.call('ZADD', P .. 'retry:' .. item.webhook, item.due, item.member)
end

-- A delivery that can wait nowhere is over.
local function drop(item)
  count_pending(item.owner, -1)
  close_delivery(item.event, item.tenant, item.webhook, 'dropped', now_text, item.attempt, closed_ttl, dead_ttl)
end

local function record(item)
  local state = state_of(item.webhook)
  if not state.exists then return 2 end
  local place = item.from == 'mailbox' and 'mbox:' or 'retry:'
  local found, removed = part(item, place, remove, item.webhook, item.from, item.entry)
  if not found or removed == 0 then return 0 end
  local word = item.then_what == 'delivered' and 'ok' or 'fail'
  if item.then_what ~= 'retry' then
    part(item, 'end:', ended, item, state, item.then_what)
  elseif not part(item, 'retry:', retry, item) then
    part(item, 'end:', drop, item)
  end
  part(item, 'log:', write_row, item.webhook, item.row, item.answer)
  part(item, 'stats:', count_attempt, item.webhook, item.owner, item.kind, word, now, item.elapsed, item.bucket)
  count_in(state, word)
  if hours[item.webhook] then hours[item.webhook].begun = state.kept.hour == this_hour end
  state.touched, state['last_' .. word] = true, now_text
  if item.signal == 'good' then state.row, state.failing = 0, 0 end
  if item.signal == 'bad' then
    state.row = state.row + 1
    if state.failing == 0 then state.failing = now end
  end
  if item.pauses ~= '' then
    state.pauses, state.pause_ends, state.turns = tonumber(item.pauses), tonumber(item.pause_ends), state.turns + 1
  end
  if item.paused ~= '' then state.paused = tonumber(item.paused) end
  if item.disable ~= '' then part(item, 'disable:', disable, item.webhook, item.disable) end
  state.active = state.active and item.disable == ''
  return 1
end

-- What the breaker did in this call; an open one is in the index of its partition.
local function write_breaker(webhook, state)
  local count = P .. 'count:' .. webhook
  redis.call('HINCRBY', count, 'turn', state.turns)
  if state.pauses == 0 then
    redis.call('HDEL', count, 'pauses', 'pause_ends')
    redis.call('ZREM', P .. 'breakers', webhook)
    return
  end
  local ends = string.format('%.0f', state.pause_ends)
  redis.call('HSET', count, 'pauses', state.pauses, 'pause_ends', ends)
  redis.call('ZADD', P .. 'breakers', ends, webhook)
end

local function write_state(webhook, state)
  local fields = { 'row', state.row, 'last', now_text }
  if state.failing > 0 and state.kept.failing == 0 then
    fields[#fields + 1] = 'failing'
    fields[#fields + 1] = now_text
  elseif state.failing == 0 and state.kept.failing > 0 then
    redis.call('HDEL', P .. 'count:' .. webhook, 'failing')
  end
  for _, word in ipairs({ 'last_ok', 'last_fail' }) do
    if state[word] then
      fields[#fields + 1] = word
      fields[#fields + 1] = state[word]
    end
  end
  for name, n in pairs(state.more) do
    fields[#fields + 1] = name
    fields[#fields + 1] = state.kept[name] + n
  end
  if state.kept.hour ~= this_hour then
    fields[#fields + 1] = 'hour'
    fields[#fields + 1] = this_hour
  end
  if state.paused > now then
    fields[#fields + 1] = 'paused'
    fields[#fields + 1] = string.format('%.0f', state.paused)
  end
  redis.call('HSET', P .. 'count:' .. webhook, unpack(fields))
  if state.turns > 0 then write_breaker(webhook, state) end
  rewake(webhook, state.active, now, state.pauses > 0 and math.max(state.paused, state.pause_ends) or state.paused)
end

local answers, at = {}, 8
while at <= #ARGV do
  local item = {}
  for i, name in ipairs(NAMES) do item[name] = ARGV[at + i - 1] end
  at = at + #NAMES
  answers[#answers + 1] = record(item)
end
for webhook, state in pairs(webhooks) do
  if state.touched then guarded('count:', webhook, 'state', write_state, webhook, state) end
end
write_counts()
answers[#answers + 1] = set_aside
return answers
