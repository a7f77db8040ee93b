-- Who is in a channel. KEYS: data, expire. ARGV: now in Unix seconds.
local gone = redis.call("ZRANGEBYSCORE", KEYS[2], "-inf", ARGV[1])
for _, client in ipairs(gone) do
    redis.call("HDEL", KEYS[1], client)
    redis.call("ZREM", KEYS[2], client)
end
return redis.call("HGETALL", KEYS[1])
