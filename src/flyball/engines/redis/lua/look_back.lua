-- What a stream (or list) has at an offset.
-- KEYS: stream or list, meta. ARGV: offset, "1" for lists.
-- Returns: epoch, offset of the newest, what is stored at the offset ("" for nothing).
local meta = redis.call("HMGET", KEYS[2], "e", "s")
local top, offset = tonumber(meta[2] or "0"), tonumber(ARGV[1])
local stored = ""
if ARGV[2] == "1" then
    if top >= offset then
        stored = redis.call("LINDEX", KEYS[1], top - offset) or ""
    end
else
    local found = redis.call("XRANGE", KEYS[1], ARGV[1], ARGV[1])
    if found[1] then
        stored = found[1][2][2]
    end
end
return {meta[1] or "", top, stored}
