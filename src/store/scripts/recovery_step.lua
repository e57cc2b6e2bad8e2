#!lua
-- One step of a recovery: sends some dead deliveries again, through the events stream as any resend. Its place among the dead is
-- the test that makes a repeat harmless. Items: event, its hash, its type.
-- Answers `over` (nothing more is to do), `moved` (was done before), `wait` (there is no room now), or what was done.
local _, token, now, webhook, id, cursor, after, is_last, hold, most_entries, most_queued = unpack(ARGV, 1, 11)
if fenced(token) then return redis.error_reply(FENCED) end
local key = P .. 'recovery:' .. webhook
local known = redis.call('HMGET', key, 'id', 'status', 'cursor')

local function close(status)
  redis.call('SREM', P .. 'recoveries', webhook)
  redis.call('HSET', key, 'status', status, 'ended', now)
end

if known[1] ~= id or known[2] ~= 'running' then
  if known[2] ~= 'running' then redis.call('SREM', P .. 'recoveries', webhook) end
  return { 'over' }
end
if known[3] ~= cursor then return { 'moved' } end
local record = redis.call('HGET', P .. 'webhooks', webhook)
if not record then return { 'over' } end
if not string.find(record, '^%d+ 1 ') then
  close('stopped')
  return { 'over' }
end
if redis.call('XLEN', P .. 'events') >= tonumber(most_entries) or redis.call('XLEN', P .. 'mbox:' .. webhook) >= tonumber(most_queued) then
  return { 'wait' }
end
local requeued, skipped = 0, 0
for i = 12, #ARGV, 3 do
  local event, hash, kind = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local at = P .. 'event:' .. hash
  local found = redis.call('HMGET', at, 'to:' .. webhook, 'again:' .. webhook)
  -- Delivered, or queued, meanwhile; or sent again by this recovery, for it may have died more than once.
  if string.find(found[1] or '', '^dead ') and found[2] ~= id and redis.call('HEXISTS', at, 'body') == 1 then
    redis.call('HSET', at, 'again:' .. webhook, id)
    redis.call('EXPIRE', at, hold, 'GT')
    add_entry('k', 'resend', 'w', webhook, 'e', event, 'h', hash, 't', kind)
    requeued = requeued + 1
  else
    skipped = skipped + 1
  end
end
redis.call('HSET', key, 'cursor', after)
redis.call('HINCRBY', key, 'requeued', requeued)
redis.call('HINCRBY', key, 'skipped', skipped)
if is_last == '1' then close('completed') end
return { is_last == '1' and 'over' or 'done' }
