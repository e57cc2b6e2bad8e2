#!lua
-- Begins to queue again what has failed for good for one webhook; its partition's owner does that step by step (`recovery_step`).
-- A webhook has one recovery at a time. A repeat of this call finds its own.
local _, webhook, id, since, until_, kind, total, cursor, last, now = unpack(ARGV)
local key = P .. 'recovery:' .. webhook
local record = redis.call('HGET', P .. 'webhooks', webhook)
if not record then return 'missing' end
local known = redis.call('HMGET', key, 'id', 'status')
if known[1] == id then return 'begun' end
if known[2] == 'running' then return 'running' end
if not string.find(record, '^%d+ 1 ') then return 'inactive' end
redis.call('DEL', key)
redis.call('HSET', key, 'id', id, 'status', 'running', 'since', since, 'until', until_, 'event', kind,
  'total', total, 'requeued', 0, 'skipped', 0, 'cursor', cursor, 'last', last, 'started', now)
redis.call('SADD', P .. 'recoveries', webhook)
add_entry('k', 'recover', 'w', webhook)
return 'begun'
