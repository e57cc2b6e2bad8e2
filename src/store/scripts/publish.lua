#!lua
-- Stores an event in one partition: from here on it survives every node.
-- The tenant's home decides by idempotency key and id whether the event is new, and tells how many shards to reach.
local _, role, id, kind, tenant_text, tenant, body, trace, max_undispatched, max_pending = unpack(ARGV, 1, 10)
-- Only where somebody may repeat the publication: for how long (s) a repeat is known, the event's hash, what it is known by, what is
-- told to it.
local once, event, idem, mark, own_id, fingerprint, at = unpack(ARGV, 11)

if once and role == 'home' then
  local known = idem ~= '' and redis.call('GET', P .. 'idem:' .. idem)
    or mark ~= '' and redis.call('GET', P .. 'idem:' .. mark)
  if known then return { 'duplicate', known } end
  if own_id == '1' and redis.call('EXISTS', P .. 'event:' .. event) == 1 then return { 'taken' } end
elseif once and redis.call('EXISTS', P .. 'once:' .. event) == 1 then
  return { 'stored', 0 }
end

local usage = redis.call('HMGET', P .. 'usage', 'undispatched', 't:' .. tenant)
if tonumber(usage[1] or 0) + #body > tonumber(max_undispatched) then return { 'partition_full' } end
if tonumber(usage[2] or 0) + #body > tonumber(max_pending) then return { 'tenant_full' } end

local fields = { 'k', 'event', 'e', id, 't', kind, 'n', tenant_text, 'b', body }
if trace ~= '' then
  fields[11], fields[12] = 'c', trace
end
local entry = redis.call('XADD', P .. 'events', '*', unpack(fields))
redis.call('HINCRBY', P .. 'usage', 'undispatched', #body)
if role ~= 'home' then
  if once then redis.call('SET', P .. 'once:' .. event, 1, 'EX', once) end
  return { 'stored', 0 }
end
local shards = redis.call('HGET', P .. 'tenant:' .. tenant, 'shards') or '1'
if once then
  -- The entry is where the event is found until its dispatch.
  local record = fingerprint .. ' ' .. id .. ' ' .. at .. ' ' .. shards .. ' ' .. entry
  if idem ~= '' then redis.call('SET', P .. 'idem:' .. idem, record, 'EX', once) end
  if mark ~= '' then redis.call('SET', P .. 'idem:' .. mark, record, 'EX', once) end
end
return { 'stored', tonumber(shards) }
