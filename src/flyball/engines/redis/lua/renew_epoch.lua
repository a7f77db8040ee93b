-- Gives a stream that went back a fresh epoch, unless somebody did so before.
-- KEYS: meta. ARGV: epoch and offset that it once had, fresh epoch.
local meta = redis.call("HMGET", KEYS[1], "e", "s")
if meta[1] == ARGV[1] and tonumber(meta[2] or "0") < tonumber(ARGV[2]) then
    redis.call("HSET", KEYS[1], "e", ARGV[3])
    return 1
end
return 0
