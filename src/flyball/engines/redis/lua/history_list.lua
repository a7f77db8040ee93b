-- Reads a whole list, newest first, and its position, which gets an epoch if it has none.
-- KEYS: list, meta. ARGV: "1" reads items, lifetime of meta in ms, epoch for a new stream.
-- Returns: offset, epoch, items.
local meta = redis.call("HMGET", KEYS[2], "e", "s")
local epoch = meta[1]
if not epoch then
    epoch = ARGV[3]
    redis.call("HSET", KEYS[2], "e", epoch)
end
redis.call("PEXPIRE", KEYS[2], ARGV[2])
local items = {}
if ARGV[1] == "1" then
    items = redis.call("LRANGE", KEYS[1], 0, -1)
end
return {tonumber(meta[2] or "0"), epoch, items}
