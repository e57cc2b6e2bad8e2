#!lua
-- Stores events, each in one partition: from here on they survive every node. On a Redis Cluster a call has one.
-- The tenant's home decides by idempotency key and id whether the event is new, and tells how many shards to reach.
-- Answers for each event, with how full its partition is then, and its tenant's queue; what fails of one, as where something else lies in a key's place, fails for that one alone.
local max_undispatched, max_pending = tonumber(ARGV[2]), tonumber(ARGV[3])

-- Only where somebody may repeat the publication there is `once`: for how long (s) a repeat is known, the event's hash, what it
-- is known by, what is told to it.
local function store(role, id, kind, tenant_text, tenant, body, trace, once, event, idem, mark, own_id, fingerprint, at)
  if once and role == 'home' then
    local known = idem ~= '' and redis.call('GET', P .. 'idem:' .. idem)
      or mark ~= '' and redis.call('GET', P .. 'idem:' .. mark)
    if known then return { 'duplicate', known } end
    if own_id == '1' and redis.call('EXISTS', P .. 'event:' .. event, P .. 'delivered:' .. event) > 0 then return { 'taken' } end
  elseif once and redis.call('EXISTS', P .. 'once:' .. event) == 1 then
    return { 'stored', 0 }
  end

  local usage = redis.call('HMGET', P .. 'usage', 'undispatched', 't:' .. tenant)
  local undispatched, pending = tonumber(usage[1] or 0), tonumber(usage[2] or 0)
  if undispatched + #body > max_undispatched then return { 'partition_full' } end
  if pending + #body > max_pending then return { 'tenant_full' } end

  -- Read before anything is written: what cannot be read has stored nothing.
  local shards = role == 'home' and redis.call('HGET', P .. 'tenant:' .. tenant, 'shards') or '1'

  local entry
  if trace == '' then
    entry = add_entry('k', 'event', 'e', id, 't', kind, 'n', tenant_text, 'b', body)
  else
    entry = add_entry('k', 'event', 'e', id, 't', kind, 'n', tenant_text, 'b', body, 'c', trace)
  end
  redis.call('HINCRBY', P .. 'usage', 'undispatched', #body)
  if role ~= 'home' then
    if once then redis.call('SET', P .. 'once:' .. event, 1, 'EX', once) end
    return { 'stored', 0, undispatched + #body, pending }
  end
  if once then
    -- The entry is where the event is found until its dispatch.
    local record = fingerprint .. ' ' .. id .. ' ' .. at .. ' ' .. shards .. ' ' .. entry
    if idem ~= '' then redis.call('SET', P .. 'idem:' .. idem, record, 'EX', once) end
    if mark ~= '' then redis.call('SET', P .. 'idem:' .. mark, record, 'EX', once) end
  end
  return { 'stored', tonumber(shards), undispatched + #body, pending }
end

-- Each event begins with its partition and with how many arguments it has.
local answers, at = {}, 4
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  P = ARGV[at]
  local done, answer = pcall(store, unpack(ARGV, at + 2, at + 1 + count))
  answers[#answers + 1] = done and answer or { 'failed', type(answer) == 'table' and answer.err or tostring(answer) }
  at = at + 2 + count
end
return answers
