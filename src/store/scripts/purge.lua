#!lua flags=allow-oom
-- Drops some of what is queued for a deleted webhook. Items: mailbox entry id or retry member, and the event's hash.
local _, token, now, webhook, owner, tenant, closed_ttl, dead_ttl = unpack(ARGV, 1, 8)
if fenced(token) then return redis.error_reply(FENCED) end
local dropped = 0
for i = 9, #ARGV, 2 do
  local name, event = ARGV[i], ARGV[i + 1]
  local removed
  if string.find(name, ' ', 1, true) then
    removed = redis.call('ZREM', P .. 'retry:' .. webhook, name)
  else
    removed = redis.call('XDEL', P .. 'mbox:' .. webhook, name)
  end
  if removed == 1 then
    close_delivery(event, tenant, webhook, 'dropped', now, 0)
    count_pending(owner, -1)
    dropped = dropped + 1
  end
end
write_records(closed_ttl, dead_ttl)
write_sums()
return dropped
