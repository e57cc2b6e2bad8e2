#!lua
-- Ends the recovery of a webhook that is running. What it has queued stays queued. Answers whether there is one, running or not.
local _, webhook, now = unpack(ARGV)
local key = P .. 'recovery:' .. webhook
local status = redis.call('HGET', key, 'status')
if status == 'running' then
  redis.call('HSET', key, 'status', 'cancelled', 'ended', now)
  redis.call('SREM', P .. 'recoveries', webhook)
end
return status and 1 or 0
