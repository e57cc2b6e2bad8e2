#!lua
-- Lists a webhook in its tenant's home before its record is written, within the quotas.
-- A repeat finds it listed and changes nothing. Answers `indexed`, `user_full` or `tenant_full`.
local _, owner, tenant, webhook, created, per_user, per_tenant, shards = unpack(ARGV)
local owned, all = P .. 'owned:' .. owner, P .. 'all:' .. tenant
if redis.call('ZSCORE', all, webhook) and redis.call('ZSCORE', owned, webhook) then return 'indexed' end
if redis.call('ZCARD', owned) >= tonumber(per_user) then return 'user_full' end
if redis.call('ZCARD', all) >= tonumber(per_tenant) then return 'tenant_full' end
redis.call('ZADD', owned, created, webhook)
redis.call('ZADD', all, created, webhook)
-- A publish reads this to know how far it must reach; it never shrinks.
local known = tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, 'shards') or 1)
if tonumber(shards) > known then redis.call('HSET', P .. 'tenant:' .. tenant, 'shards', shards) end
return 'indexed'
