-- Adds a publication to a stream and spreads it, in one step.
-- KEYS: stream, meta, and the result of the idempotency key if there is one.
-- ARGV: publication, channel of PUB/SUB ("" spreads nothing), size, lifetime in ms of stream,
--   of meta, epoch for a new stream, PUBLISH or SPUBLISH, delta ("1"), version, version epoch,
--   lifetime in ms of the result, name of the channel.
-- Returns: offset, epoch, why nothing was published.
local publication, channel, size = ARGV[1], ARGV[2], ARGV[3]

-- Whole numbers up to 2^64, as text: Lua's numbers end at 2^53.
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
    local newest = redis.call("XREVRANGE", KEYS[1], "+", "-", "COUNT", 1)
    if newest[1] then
        previous = newest[1][2][2]
    end
end

redis.call("XADD", KEYS[1], "MAXLEN", size, offset .. "-0", "d", publication)
redis.call("PEXPIRE", KEYS[1], ARGV[4])

if channel ~= "" then
    local message
    if ARGV[8] == "1" then
        message = "__d1:" .. offset .. ":" .. epoch .. ":" .. #previous .. ":" .. previous .. ":"
            .. #publication .. ":" .. publication
    else
        message = "__p1:" .. offset .. ":" .. epoch .. "__" .. publication
    end
    redis.call(ARGV[7], channel, message)
end

if KEYS[3] then
    redis.call("DEL", KEYS[3])
    redis.call("HSET", KEYS[3], "e", epoch, "s", offset, "c", ARGV[12])
    redis.call("PEXPIRE", KEYS[3], ARGV[11])
end
return {offset, epoch, ""}
