#!lua
-- Writes the record of a new webhook and tells the partition's owner. A repeat changes nothing.
local _, webhook, record = unpack(ARGV)
if redis.call('HSETNX', P .. 'webhooks', webhook, record) == 1 then
  add_entry('k', 'changed', 'w', webhook)
elseif redis.call('HGET', P .. 'webhooks', webhook) ~= record then
  return redis.error_reply('CHANGED the id is taken')
end
return 1
