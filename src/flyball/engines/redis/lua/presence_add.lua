-- Adds a client to a channel, or prolongs it.
-- KEYS: data, expire; with user mapping also number of clients by user, expire by user.
-- ARGV: client, info, lifetime in ms, user, "1" lets each field expire.
-- The time is that of Redis: clocks of nodes may differ.
local client, user = ARGV[1], ARGV[4]
if KEYS[3] and redis.call("HEXISTS", KEYS[1], client) == 0 then
    redis.call("HINCRBY", KEYS[3], user, 1)
end
redis.call("HSET", KEYS[1], client, ARGV[2])
if ARGV[5] == "1" then
    redis.call("HPEXPIRE", KEYS[1], ARGV[3], "FIELDS", 1, client)
    if KEYS[3] then
        redis.call("HPEXPIRE", KEYS[3], ARGV[3], "FIELDS", 1, user)
    end
else
    local now = redis.call("TIME")
    local over = string.format("%.3f", now[1] + now[2] / 1e6 + ARGV[3] / 1000)
    redis.call("ZADD", KEYS[2], over, client)
    redis.call("PEXPIRE", KEYS[2], ARGV[3])
    if KEYS[3] then
        redis.call("ZADD", KEYS[4], over, user)
        redis.call("PEXPIRE", KEYS[4], ARGV[3])
    end
end
redis.call("PEXPIRE", KEYS[1], ARGV[3])
if KEYS[3] then
    redis.call("PEXPIRE", KEYS[3], ARGV[3])
end
return 1
