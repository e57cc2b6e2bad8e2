#!lua
-- One step of a recovery: sends some dead deliveries again, through the events stream as any resend. Its place among the dead is
-- the test that makes a repeat harmless. Items: event, its hash, its type.
-- Answers `over` (nothing more is to do), `moved` (was done before), or `done`.
local _, token, now, webhook, id, cursor, after, is_last, hold = unpack(ARGV, 1, 9)
if fenced(token) then return redis.error_reply(FENCED) end
local key = P .. 'recovery:' .. webhook
local known = redis.call('HMGET', key, 'id', 'status', 'cursor')

local function close(status)
  redis.call('SREM', P .. 'recoveries', webhook)
  redis.call('HSET', key, 'status', status, 'ended', now)
end

if known[2] ~= 'running' then
  redis.call('SREM', P .. 'recoveries', webhook)
  return { 'over' }
end
-- Another recovery than the one that was looked at.
if known[1] ~= id or known[3] ~= cursor then return { 'moved' } end
local record = redis.call('HGET', P .. 'webhooks', webhook)
if not record then return { 'over' } end
if not string.find(record, '^%d+ 1 ') then
  close('stopped')
  return { 'over' }
end

-- Whether a delivery still stands as dead and nothing sends it again: not by this recovery, for it may have died more than once, nor
-- by an entry that awaits dispatch.
local function stands(at)
  local found = redis.call('HMGET', at, 'to:' .. webhook, 'again:' .. webhook)
  if not string.find(found[1] or '', '^dead ') or redis.call('HEXISTS', at, 'body') == 0 then return false end
  local by, entry = string.match(found[2] or '', '^(%S+) (%S+)$')
  return by ~= id and (not entry or #redis.call('XRANGE', P .. 'events', entry, entry) == 0)
end

local requeued, skipped, entry = 0, 0, false
for i = 10, #ARGV, 3 do
  local event, hash, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local at = P .. 'event:' .. hash
  if stands(at) then
    entry = add_entry('k', 'resend', 'w', webhook, 'e', event, 'h', hash, 't', kind)
    redis.call('HSET', at, 'again:' .. webhook, id .. ' ' .. entry)
    redis.call('EXPIRE', at, hold, 'GT')
    requeued = requeued + 1
  else
    skipped = skipped + 1
  end
end
redis.call('HSET', key, 'cursor', after)
if entry then redis.call('HSET', key, 'entry', entry) end
redis.call('HINCRBY', key, 'requeued', requeued)
redis.call('HINCRBY', key, 'skipped', skipped)
if is_last == '1' then close('completed') end
return { is_last == '1' and 'over' or 'done' }
