#!lua
-- Queues a stored event for one webhook once more, by a control entry. Nothing is compared with earlier calls: who asks
-- twice gets it twice. `call` names this one call, which a client of Redis may send again after a broken connection.
local _, call, webhook, id, event, kind, remember, hold, most = unpack(ARGV)
local once, key = P .. 'once:' .. call, P .. 'event:' .. event

-- The one value that an event's record is which arrived everywhere at once (store::delivered_record) becomes the hash that a queued one
-- has. Whether there was one.
local function make_hash()
  local delivered = P .. 'delivered:' .. event
  local value = redis.call('GET', delivered)
  local kind, trace, at, webhooks, body = string.match(value or '', '^(%S+) (%S+) (%d+) (%S+)\n(.*)$')
  if not body then return false end
  local fields = { 'body', body, 'type', kind }
  if trace ~= '-' then
    fields[5], fields[6] = 'trace', trace
  end
  for name in string.gmatch(webhooks, '[^,]+') do
    local n = #fields
    local not_to, reason = string.match(name, '^(.+)=(.+)$')
    local status = reason and 'skipped ' .. at .. ' ' .. reason or 'delivered ' .. at .. ' 1'
    fields[n + 1], fields[n + 2] = 'to:' .. (not_to or name), status
  end
  redis.call('HSET', key, unpack(fields))
  redis.call('PEXPIRE', key, math.max(1, redis.call('PTTL', delivered)))
  redis.call('DEL', delivered)
  return true
end

if redis.call('EXISTS', once) == 1 then return 'queued' end
local record = redis.call('HGET', P .. 'webhooks', webhook)
if not record then return 'missing' end
if not string.find(record, '^%d+ 1 ') then return 'inactive' end
if redis.call('HEXISTS', key, 'body') == 0 and not make_hash() then return 'gone' end
if redis.call('HEXISTS', key, 'test') == 1 then return 'test' end
if redis.call('XLEN', P .. 'events') >= tonumber(most) then return 'full' end
redis.call('SET', once, 1, 'EX', remember)
-- The record must not end before the dispatch, which then decides how long it lives.
redis.call('EXPIRE', key, hold, 'GT')
local entry = add_entry('k', 'resend', 'w', webhook, 'e', id, 'h', event, 't', kind)
redis.call('HSET', key, 'again:' .. webhook, '- ' .. entry)
return 'queued'
