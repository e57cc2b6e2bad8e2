#!lua
-- Queues a stored event for one webhook once more, by a control entry. Nothing is compared with earlier calls: who asks
-- twice gets it twice. `call` names this one call, which a client of Redis may send again after a broken connection.
local _, call, webhook, id, event, kind, remember, hold, most = unpack(ARGV)
local once, key = P .. 'once:' .. call, P .. 'event:' .. event
if redis.call('EXISTS', once) == 1 then return 'queued' end
local record = redis.call('HGET', P .. 'webhooks', webhook)
if not record then return 'missing' end
if not string.find(record, '^%d+ 1 ') then return 'inactive' end
if redis.call('HEXISTS', key, 'body') == 0 then return 'gone' end
if redis.call('HEXISTS', key, 'test') == 1 then return 'test' end
if redis.call('XLEN', P .. 'events') >= tonumber(most) then return 'full' end
redis.call('SET', once, 1, 'EX', remember)
-- The record must not end before the dispatch, which then decides how long it lives.
redis.call('EXPIRE', key, hold, 'GT')
redis.call('XADD', P .. 'events', '*', 'k', 'resend', 'w', webhook, 'e', id, 'h', event, 't', kind)
return 'queued'
