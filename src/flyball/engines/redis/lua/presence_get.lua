-- Who is in a channel. KEYS: data, expire.
local now = redis.call("TIME")
local gone = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", now[1] + now[2] / 1e6)
for _, client in ipairs(gone) do
    redis.call("HDEL", KEYS[1], client)
    redis.call("ZREM", KEYS[2], client)
end
return redis.call("HGETALL", KEYS[1])
