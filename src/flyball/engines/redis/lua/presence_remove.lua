-- Takes a client out of a channel.
-- KEYS: data, expire; with user mapping also number of clients by user, expire by user.
-- ARGV: client, user.
local had = redis.call("HDEL", KEYS[1], ARGV[1])
redis.call("ZREM", KEYS[2], ARGV[1])
if KEYS[3] and had == 1 and redis.call("HINCRBY", KEYS[3], ARGV[2], -1) <= 0 then
    redis.call("HDEL", KEYS[3], ARGV[2])
    redis.call("ZREM", KEYS[4], ARGV[2])
end
return had
