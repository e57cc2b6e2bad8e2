#!lua flags=allow-oom
-- Sets aside what cannot be read in a webhook's queue. Removing an item is the test that makes a repeat harmless.
-- Items: `mbox` or `retry`; its name there; 1 when it counts as pending; the hash of its event or ''; what is known of it.
-- Frees memory but for one bounded stream, hence the flag.
local _, token, now, webhook, owner, tenant, closed_ttl, dead_ttl = unpack(ARGV, 1, 8)
if fenced(token) then return redis.error_reply(FENCED) end

local function remove(place, name)
  local key = P .. place .. ':' .. webhook
  if place == 'mbox' then return redis.call('XDEL', key, name) end
  return redis.call('ZREM', key, name)
end

local removed = 0
for i = 9, #ARGV, 5 do
  local place, name, counted, event, text = unpack(ARGV, i, i + 4)
  if remove(place, name) == 1 then
    removed = removed + 1
    quarantine(place .. ':' .. webhook, text)
    if counted == '1' then count_pending(owner, -1) end
    -- Only a delivery that is open may be closed: the item may be from another hand.
    if event ~= '' and redis.call('HGET', P .. 'event:' .. event, 'to:' .. webhook) == 'pending' then
      close_delivery(event, tenant, webhook, 'dropped', now, 0)
      write_records(closed_ttl, dead_ttl)
    end
  end
end
if removed > 0 then
  local record = redis.call('HGET', P .. 'webhooks', webhook)
  local active = record and string.find(record, '^%d+ 1 ') ~= nil
  rewake(webhook, active, tonumber(now), rests_until(webhook))
end
write_sums()
return removed
