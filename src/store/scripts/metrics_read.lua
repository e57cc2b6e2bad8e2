#!lua flags=no-writes,allow-oom
-- The time of Redis in ms, and what each node told of its last minute.
local time = redis.call('TIME')
local told, pairs_told = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #told, 2 do pairs_told[#pairs_told + 1] = { told[i], told[i + 1] } end
return { time[1] * 1000 + math.floor(time[2] / 1000), pairs_told }
