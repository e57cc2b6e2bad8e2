-- What is kept of webhooks besides their queues: their row of failures, what they have delivered, their breaker. For those
-- scripts that write it; put after the ones that count.
local now_text = ARGV[2]
local now = tonumber(now_text)
local this_hour = math.floor(now / 3600000)

-- What is read of a webhook before, and written once after, all of its items.
local function kept_of(webhook)
  local _, values = guarded('count:', webhook, 'read', redis.call, 'HMGET', P .. 'count:' .. webhook,
    'row', 'paused', 'failing', 'pauses', 'pause_ends', 'hour', 'ok', 'fail', 'delivered', 'dead')
  local function number(i) return values and tonumber(values[i] or 0) or 0 end
  return { row = number(1), paused = number(2), failing = number(3), pauses = number(4), pause_ends = number(5),
    hour = number(6), ok = number(7), fail = number(8), delivered = number(9), dead = number(10) }
end

-- The webhooks of this call, by id: what is kept of each and what this call makes of it; false where there is none.
local webhooks = {}
local function begin_state(webhook, owner, exists)
  local state = false
  if exists then
    local kept = kept_of(webhook)
    state = { owner = owner, log = P .. 'log:' .. webhook, kept = kept, row = kept.row,
      paused = kept.paused, failing = kept.failing, pauses = kept.pauses, pause_ends = kept.pause_ends, turns = 0, closed = 0, more = {}, touched = false }
  end
  webhooks[webhook] = state
  return state
end

local function count_in(state, name)
  state.more[name] = (state.more[name] or 0) + 1
end

-- An attempt at an endpoint that takes what it gets, or (`fail`) does not.
local function note_attempt(state, word)
  count_in(state, word)
  state.touched, state['last_' .. word] = true, now_text
end

local function note_success(state)
  state.row, state.failing = 0, 0
end

local function write_row(state, row, log_max)
  return redis.call('XADD', state.log, 'MAXLEN', '~', log_max, '*', 'r', row)
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
  local count, kept = P .. 'count:' .. webhook, state.kept
  local fields = { 'row', text_of(state.row), 'last', now_text }
  local function put(name, value)
    local n = #fields
    fields[n + 1], fields[n + 2] = name, value
  end
  if state.failing > 0 and state.failing ~= kept.failing then
    put('failing', now_text)
  elseif state.failing == 0 and kept.failing > 0 then
    redis.call('HDEL', count, 'failing')
  end
  if state.last_ok then put('last_ok', now_text) end
  if state.last_fail then put('last_fail', now_text) end
  for name, n in pairs(state.more) do put(name, text_of(kept[name] + n)) end
  if kept.hour ~= this_hour then put('hour', text_of(this_hour)) end
  if state.paused > now then put('paused', text_of(state.paused)) end
  redis.call('HSET', count, unpack(fields))
  if state.turns > 0 then write_breaker(webhook, state) end
  -- Only where something has left a queue.
  if not state.mailbox then return end
  local rests = state.pauses > 0 and math.max(state.paused, state.pause_ends) or state.paused
  -- What waits in its mailbox has put an active webhook into the index, at a time that has come.
  local stays = state.active and state.turns == 0 and rests <= now and redis.call('XLEN', state.mailbox) > 0
  if not stays then rewake(webhook, state.active, now, rests) end
end

local function write_webhook(webhook, state)
  attempts[webhook].begun = state.kept.hour == this_hour
  guarded('count:', webhook, 'state', write_state, webhook, state)
  if state.closed > 0 then count_pending(state.owner, -state.closed) end
  for _, how in ipairs({ 'delivered', 'dead' }) do
    if state.more[how] then add(P .. 'stats:' .. state.owner, how, state.more[how]) end
  end
end

-- To be called once after all items, before `write_counts`.
local function write_webhooks()
  for webhook, state in pairs(webhooks) do
    if state and state.touched then write_webhook(webhook, state) end
  end
end
