-- Reads part of a stream, and its position, which gets an epoch if it has none.
-- KEYS: stream, meta.
-- ARGV: command ("" reads no entries), first and last id, count ("0" is all), lifetime of meta in
--   ms, epoch for a new stream.
-- Returns: offset, epoch, entries.
local meta = redis.call("HMGET", KEYS[2], "e", "s")
local epoch = meta[1]
if not epoch then
    epoch = ARGV[6]
    redis.call("HSET", KEYS[2], "e", epoch)
end
redis.call("PEXPIRE", KEYS[2], ARGV[5])
local entries = {}
if ARGV[1] ~= "" then
    if ARGV[4] == "0" then
        entries = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3])
    else
        entries = redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], "COUNT", ARGV[4])
    end
end
return {tonumber(meta[2] or "0"), epoch, entries}
