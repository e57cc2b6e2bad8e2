#!lua flags=allow-oom
-- Removes the record of a webhook; the partition's owner drops what is queued and the log when it meets the control
-- entry. A repeat finds no record and changes nothing. Frees memory in the end, hence the flag.
local _, webhook, owner, tenant = unpack(ARGV)
if redis.call('HDEL', P .. 'webhooks', webhook) == 0 then return 0 end
add_entry('k', 'deleted', 'w', webhook, 'o', owner, 'n', tenant)
return 1
