-- Spreads a message that no history keeps, once for an idempotency key.
-- KEYS: result. ARGV: message, channel of PUB/SUB, PUBLISH or SPUBLISH ("" spreads nothing),
--   lifetime of the result in ms, name of the channel.
-- Returns 1, or 0 if it was published before.
local known = redis.call("HMGET", KEYS[1], "e", "c")
if known[1] and (not known[2] or known[2] == ARGV[5]) then
    return 0
end
redis.call("DEL", KEYS[1])
redis.call("HSET", KEYS[1], "e", "", "c", ARGV[5])
redis.call("PEXPIRE", KEYS[1], ARGV[4])
if ARGV[3] ~= "" then
    redis.call(ARGV[3], ARGV[2], ARGV[1])
end
return 1
