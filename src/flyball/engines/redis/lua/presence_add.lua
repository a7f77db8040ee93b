-- Adds a client to a channel, or prolongs it.
-- KEYS: data, expire; with user mapping also number of clients by user, expire by user.
-- ARGV: client, info, lifetime in ms, end of it in Unix seconds, user, "1" lets each field expire.
local client, user = ARGV[1], ARGV[5]
if KEYS[3] and redis.call("HEXISTS", KEYS[1], client) == 0 then
    redis.call("HINCRBY", KEYS[3], user, 1)
end
redis.call("HSET", KEYS[1], client, ARGV[2])
if ARGV[6] == "1" then
    redis.call("HPEXPIRE", KEYS[1], ARGV[3], "FIELDS", 1, client)
    if KEYS[3] then
        redis.call("HPEXPIRE", KEYS[3], ARGV[3], "FIELDS", 1, user)
    end
else
    redis.call("ZADD", KEYS[2], ARGV[4], client)
    redis.call("PEXPIRE", KEYS[2], ARGV[3])
    if KEYS[3] then
        redis.call("ZADD", KEYS[4], ARGV[4], user)
        redis.call("PEXPIRE", KEYS[4], ARGV[3])
    end
end
redis.call("PEXPIRE", KEYS[1], ARGV[3])
if KEYS[3] then
    redis.call("PEXPIRE", KEYS[3], ARGV[3])
end
return 1
