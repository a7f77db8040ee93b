-- How many clients and users are in a channel.
-- KEYS: data, expire, number of clients by user, expire by user.
local time = redis.call("TIME")
local now = time[1] + time[2] / 1e6
for i = 1, 3, 2 do
    local gone = redis.call("ZRANGEBYSCORE", KEYS[i + 1], "-inf", now)
    for _, member in ipairs(gone) do
        redis.call("HDEL", KEYS[i], member)
        redis.call("ZREM", KEYS[i + 1], member)
    end
end
return {redis.call("HLEN", KEYS[1]), redis.call("HLEN", KEYS[3])}
