-- As publish_stream.lua, with a list whose items are the messages of PUB/SUB, newest first.
-- KEYS and ARGV are the same.
local publication, channel, size = ARGV[1], ARGV[2], ARGV[3]

local function at_least(a, b)
    if #a ~= #b then
        return #a > #b
    end
    return a >= b
end

if KEYS[3] then
    local known = redis.call("HMGET", KEYS[3], "e", "s", "c")
    if known[1] and (not known[3] or known[3] == ARGV[12]) then
        return {tonumber(known[2] or "0"), known[1], "idempotency"}
    end
end

local meta = redis.call("HMGET", KEYS[2], "e", "v", "ve", "s")
local epoch = meta[1]
if not epoch then
    epoch = ARGV[6]
    redis.call("HSET", KEYS[2], "e", epoch)
end

local version = ARGV[9]
if version ~= "0" then
    local same = ARGV[10] == "" or ARGV[10] == (meta[3] or "")
    if meta[2] and same and at_least(meta[2], version) then
        return {tonumber(meta[4] or "0"), epoch, "version"}
    end
    redis.call("HSET", KEYS[2], "v", version, "ve", ARGV[10])
end

local offset = redis.call("HINCRBY", KEYS[2], "s", 1)
redis.call("PEXPIRE", KEYS[2], ARGV[5])

local previous = ""
if offset == 1 then
    redis.call("DEL", KEYS[1])
elseif ARGV[8] == "1" then
    -- The publication inside of the item, not the item.
    local newest = redis.call("LINDEX", KEYS[1], 0)
    local start = newest and string.match(newest, "^__p1:%d+:.-__()")
    if start then
        previous = string.sub(newest, start)
    end
end

local item = "__p1:" .. offset .. ":" .. epoch .. "__" .. publication
redis.call("LPUSH", KEYS[1], item)
redis.call("LTRIM", KEYS[1], 0, size - 1)
redis.call("PEXPIRE", KEYS[1], ARGV[4])

if channel ~= "" then
    local message = item
    if ARGV[8] == "1" then
        message = "__d1:" .. offset .. ":" .. epoch .. ":" .. #previous .. ":" .. previous .. ":"
            .. #publication .. ":" .. publication
    end
    redis.call(ARGV[7], channel, message)
end

if KEYS[3] then
    redis.call("DEL", KEYS[3])
    redis.call("HSET", KEYS[3], "e", epoch, "s", offset, "c", ARGV[12])
    redis.call("PEXPIRE", KEYS[3], ARGV[11])
end
return {offset, epoch, ""}
