#!lua flags=allow-oom
-- Logs a test and ends it. The row and the event's record are all that it leaves: nothing is counted.
-- A repeat, and a test of a webhook that is gone meanwhile, write nothing.
local _, call, webhook, token, row, answer, log_max, event, body, kind, ended, keep, remember = unpack(ARGV)
if redis.call('GET', P .. 'testing:' .. webhook) == token then redis.call('DEL', P .. 'testing:' .. webhook) end
if redis.call('HEXISTS', P .. 'webhooks', webhook) == 0 then return 0 end
if not redis.call('SET', P .. 'once:' .. call, 1, 'NX', 'EX', remember) then return 1 end
local id = redis.call('XADD', P .. 'log:' .. webhook, 'MAXLEN', '~', log_max, '*', 'r', row)
if answer ~= '' then redis.call('XADD', P .. 'answer:' .. webhook, 'MAXLEN', '~', log_max, id, 'b', answer) end
local key = P .. 'event:' .. event
redis.call('HSET', key, 'body', body, 'type', kind, 'open', 0, 'test', 1, 'to:' .. webhook, ended)
redis.call('EXPIRE', key, keep)
return 1
