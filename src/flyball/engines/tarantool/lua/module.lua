-- Streams, presence and messages between nodes. Kept in the space flyball_module, loaded when it is
-- first called after a start or an upgrade. All strings are bytes, times are Unix seconds.
local VERSION, OLDEST = ...
local digest = require('digest')
local fiber = require('fiber')
local log = require('log')

-- Of what waits for a node that does not fetch it: above that it must begin anew.
local MOST_WAITING, MOST_BYTES = 100000, 64 * 1024 * 1024
-- Of one answer to a poll.
local BATCH, BATCH_BYTES = 1000, 4 * 1024 * 1024
-- Publications that one publish removes at most; two would do to get ahead.
local TRIM = 100
-- Rows that the sweeper looks at at once, and removes in one transaction.
local SWEEP = 500
-- Seconds in which it looks at all rows, and between its steps.
local SWEEP_ALL, SWEEP_EVERY = 60, 0.5
-- A position lives a bit longer than asked, so that not each read must write.
local SLACK = 1.01

-- Kinds of messages.
local PUBLICATION, DELTA = 0, 1

local streams = box.space.flyball_streams
local publications = box.space.flyball_publications
local results = box.space.flyball_results
local presence = box.space.flyball_presence

-- Fields of a stream. Publications from FIRST to TOP are there, those from KEPT on not yet removed.
local EPOCH, TOP, FIRST, KEPT, META_ENDS = 2, 3, 4, 5, 7

local call = {}

-- -- who listens

local sessions = {}
local subscribers = {}

local function forget(id)
    local session = sessions[id]
    if session == nil then
        return
    end
    sessions[id] = nil
    session.gone = true
    session.cond:broadcast()
    for name in pairs(session.names) do
        local listeners = subscribers[name]
        listeners[session] = nil
        if next(listeners) == nil then
            subscribers[name] = nil
        end
    end
end

local function own_session()
    local session = sessions[box.session.id()]
    if session == nil then
        box.error({code = 0x8000, reason = 'flyball: this session is not open, or was given up'})
    end
    return session
end

-- Bytes that matter: data, and that of the publication before it.
local function size_of(message)
    local previous = message[8]
    return previous and #message[3] + #previous or #message[3]
end

local function add(session, message)
    if session.gone then
        return
    end
    local tail = session.tail + 1
    session.tail = tail
    session.queue[tail] = message
    session.bytes = session.bytes + size_of(message)
    if tail - session.head > MOST_WAITING or session.bytes > MOST_BYTES then
        log.error('flyball: session %d does not fetch its messages, it is given up', session.id)
        forget(session.id)
    elseif session.waits then
        session.waits = false
        session.cond:signal()
    end
end

local function spread(name, message)
    local listeners = subscribers[name]
    if listeners ~= nil then
        for session in pairs(listeners) do
            add(session, message)
        end
    end
end

-- Who this instance is: version of the module, oldest one that it stands for, whether it is
-- read-only, state and term of the election ('' where there is none), and its name.
function call.hello()
    local election = box.info.election or {}
    local mode = box.cfg.election_mode
    if mode == nil or mode == 'off' then
        election = {}
    end
    return VERSION, OLDEST, box.info.ro, election.state or '', election.term or 0, box.info.uuid
end

-- Opens a session for messages.
function call.open()
    local id = box.session.id()
    forget(id)
    sessions[id] = {
        id = id, names = {}, queue = {}, head = 0, tail = 0, bytes = 0, cond = fiber.cond(),
        waits = false, gone = false,
    }
end

function call.subscribe(names)
    local session = own_session()
    for _, name in ipairs(names) do
        local listeners = subscribers[name]
        if listeners == nil then
            listeners = {}
            subscribers[name] = listeners
        end
        listeners[session] = true
        session.names[name] = true
    end
end

function call.unsubscribe(names)
    local session = own_session()
    for _, name in ipairs(names) do
        local listeners = subscribers[name]
        if listeners ~= nil then
            listeners[session] = nil
            if next(listeners) == nil then
                subscribers[name] = nil
            end
        end
        session.names[name] = nil
    end
end

-- Messages of a session, as soon as there are some; none after `wait` seconds. Also tells whether the
-- instance became read-only.
function call.poll(wait)
    local session = own_session()
    if session.head == session.tail then
        session.waits = true
        session.cond:wait(wait)
        session.waits = false
        if session.gone then
            own_session()
        end
    end
    local queue, head, tail = session.queue, session.head, session.tail
    if tail - head <= BATCH and session.bytes <= BATCH_BYTES then
        session.queue, session.head, session.tail, session.bytes = {}, 0, 0, 0
        if head == 0 then
            return box.info.ro, queue
        end
        local all = {}
        for place = head + 1, tail do
            all[place - head] = queue[place]
        end
        return box.info.ro, all
    end
    local batch, bytes = {}, 0
    while head < tail and #batch < BATCH and bytes < BATCH_BYTES do
        head = head + 1
        local message = queue[head]
        queue[head] = nil
        batch[#batch + 1] = message
        bytes = bytes + size_of(message)
    end
    session.head, session.bytes = head, session.bytes - bytes
    return box.info.ro, batch
end

-- Sends a message that is not kept to whoever listens.
function call.spread(name, kind, data, ...)
    if box.info.ro then
        box.error(box.error.READONLY)
    end
    spread(name, {name, kind, data, ...})
end

-- -- transactions

-- Streams of which a change was taken back, which others may have read: they need a fresh epoch.
local doubtful = {}

-- What `work` writes is there as a whole, or not at all. It must not yield.
local function atomic(name, work, ...)
    box.begin()
    local ok, a, b, c, d = pcall(work, name, ...)
    if not ok then
        box.rollback()
        error(a, 0)
    end
    local done, why = pcall(box.commit)
    if not done then
        doubtful[name] = true
        error(why, 0)
    end
    return a, b, c, d
end

-- -- streams

-- A name for a new stream: eight letters.
local function new_epoch()
    return (digest.urandom(8):gsub('.', function(byte)
        local number = byte:byte() % 52
        return string.char(number < 26 and 65 + number or 71 + number)
    end))
end

-- Removes publications from `kept` up to `last`, not more than `most`; returns the next.
local function remove(name, kept, last, most)
    last = math.min(last, kept + most - 1)
    for offset = kept, last do
        publications:delete({name, offset})
    end
    return math.max(kept, last + 1)
end

-- The stream of a channel as it is now; nil if it is over.
local function live(name, now)
    local stream = streams:get(name)
    if stream ~= nil and stream[META_ENDS] <= now then
        remove(name, stream[KEPT], stream[TOP], math.huge)
        return nil
    end
    return stream
end

local function known_result(name, key, now)
    local known = results:get({name, key})
    if known ~= nil and known[5] > now then
        return known
    end
end

local function publish(name, data, rest, size, ttl, meta_ttl, delta, version, version_epoch, key, key_ttl)
    local now = fiber.time()
    if key ~= '' then
        local known = known_result(name, key, now)
        if known ~= nil then
            return known[3], known[4], 'idempotency'
        end
    end
    local stream = live(name, now)
    local _, old, epoch, top, first, kept, ends, stored, stored_epoch
    if stream == nil then
        epoch, top, first, kept, ends, stored, stored_epoch = new_epoch(), 0, 1, 1, 0, 0, ''
    else
        -- All fields at once: it is much cheaper than one by one.
        _, old, top, first, kept, ends, _, stored, stored_epoch = stream:unpack()
        epoch = doubtful[name] and new_epoch() or old
    end
    if version ~= 0 then
        local same = version_epoch == '' or version_epoch == stored_epoch
        if stored ~= 0 and same and stored >= version then
            return top, old, 'version'
        end
        stored, stored_epoch = version, version_epoch
    end
    local offset = top + 1
    if ends <= now then
        first = offset
    end
    local previous
    if delta and first <= top then
        previous = publications:get({name, top})
    end
    publications:replace({name, offset, data, rest})
    first = math.max(first, offset - size + 1)
    kept = remove(name, kept, first - 1, TRIM)
    streams:replace({
        name, epoch, offset, first, kept, now + ttl, now + meta_ttl * SLACK, stored, stored_epoch,
    })
    if key ~= '' then
        results:replace({name, key, offset, epoch, now + key_ttl})
    end
    return offset, epoch, '', previous
end

-- Adds a publication to a stream and spreads it. Returns offset, epoch, and why nothing was published.
-- `rest` is what it has beside its data, `made` when it was made, in Unix milliseconds.
function call.publish(name, data, rest, made, size, ttl, meta_ttl, delta, ...)
    local offset, epoch, why, previous =
        atomic(name, publish, data, rest, size, ttl, meta_ttl, delta, ...)
    if why == '' then
        doubtful[name] = nil
        local message = {name, PUBLICATION, data, rest, made, offset, epoch}
        if delta then
            message[2] = DELTA
            if previous ~= nil then
                message[8], message[9] = previous[3], previous[4]
            end
        end
        spread(name, message)
    end
    return offset, epoch, why
end

local function remember(name, key, key_ttl)
    local now = fiber.time()
    if known_result(name, key, now) ~= nil then
        return false
    end
    results:replace({name, key, 0, '', now + key_ttl})
    return true
end

-- Spreads a publication that is not kept, once for a key. Returns whether it did.
function call.publish_once(name, data, rest, made, key, key_ttl)
    local is_first = atomic(name, remember, key, key_ttl)
    if is_first then
        spread(name, {name, PUBLICATION, data, rest, made})
    end
    return is_first
end

-- Rows of publications, as they are: to look into each would cost more than to send it.
local function entries(name, first, last, limit, reverse)
    if limit >= 0 then
        if reverse then
            first = math.max(first, last - limit + 1)
        else
            last = math.min(last, first + limit - 1)
        end
    end
    local count = last - first + 1
    if count <= 0 then
        return {}
    end
    if reverse then
        return publications:select({name, last}, {iterator = 'LE', limit = count})
    end
    return publications:select({name, first}, {iterator = 'GE', limit = count})
end

local function history(name, since, limit, reverse, meta_ttl)
    local now = fiber.time()
    local stream = live(name, now)
    if stream == nil then
        local epoch = new_epoch()
        streams:replace({name, epoch, 0, 1, 1, 0, now + meta_ttl * SLACK, 0, ''})
        return 0, epoch, {}
    end
    local _, old, top, first, _, ends, meta_ends = stream:unpack()
    local epoch = doubtful[name] and new_epoch() or old
    if epoch ~= old or meta_ends < now + meta_ttl then
        meta_ends = math.max(meta_ends, now + meta_ttl * SLACK)
        streams:update(name, {{'=', EPOCH, epoch}, {'=', META_ENDS, meta_ends}})
    end
    local last = top
    if ends <= now then
        first = last + 1
    end
    if since >= 0 then
        if reverse then
            last = math.min(last, since - 1)
        else
            first = math.max(first, since + 1)
        end
    end
    return top, epoch, entries(name, first, last, limit, reverse)
end

-- Part of a stream, after (or before) an offset; -1 for all of it, a limit of -1 for no limit. Returns
-- offset and epoch of the stream, and rows of publications: name, offset, data, rest. Where rows were taken
-- out by somebody else there may be some behind the part, or of another name.
function call.history(name, ...)
    if box.info.ro then
        box.error(box.error.READONLY)
    end
    local top, epoch, found = atomic(name, history, ...)
    doubtful[name] = nil
    return top, epoch, found
end

local function remove_history(name)
    local stream = streams:get(name)
    if stream ~= nil then
        local top = stream[TOP]
        local kept = remove(name, stream[KEPT], top, TRIM)
        streams:update(name, {{'=', FIRST, top + 1}, {'=', KEPT, kept}})
    end
end

-- Drops the publications; offset and epoch live on.
function call.remove_history(name)
    atomic(name, remove_history)
end

-- Epoch and offset of a stream, and data and rest of what it has at an offset.
function call.look_back(name, offset)
    if box.info.ro then
        box.error(box.error.READONLY)
    end
    local stream = streams:get(name)
    if stream == nil or stream[META_ENDS] <= fiber.time() then
        return '', 0
    end
    local found = offset <= stream[TOP] and publications:get({name, offset})
    if not found then
        return stream[EPOCH], stream[TOP]
    end
    return stream[EPOCH], stream[TOP], found[3], found[4]
end

local function renew_epoch(name, epoch, offset, whatever)
    local stream = streams:get(name)
    if stream == nil or stream[EPOCH] ~= epoch or (not whatever and stream[TOP] >= offset) then
        return false
    end
    streams:update(name, {{'=', EPOCH, new_epoch()}})
    return true
end

-- Gives a stream that went back behind an offset a fresh epoch, unless somebody did so before.
-- `whatever`: also if its offset is as high, because it has others at the same places.
function call.renew_epoch(name, epoch, offset, whatever)
    return (atomic(name, renew_epoch, epoch, offset, whatever))
end

-- -- presence

-- Adds a client to a channel, or prolongs it.
function call.presence_add(name, client, user, info, ttl)
    presence:replace({name, client, user, info, fiber.time() + ttl})
end

function call.presence_remove(name, client)
    presence:delete({name, client})
end

-- Clients and their info in turn.
function call.presence(name)
    if box.info.ro then
        box.error(box.error.READONLY)
    end
    local found, now = {}, fiber.time()
    for _, row in presence:pairs(name) do
        if row[5] > now then
            found[#found + 1] = row[2]
            found[#found + 1] = row[4]
        end
    end
    return found
end

-- Numbers of clients and users.
function call.presence_stats(name)
    if box.info.ro then
        box.error(box.error.READONLY)
    end
    local clients, users, known, now = 0, 0, {}, fiber.time()
    for _, row in presence:pairs(name) do
        if row[5] > now then
            clients = clients + 1
            if not known[row[3]] then
                known[row[3]] = true
                users = users + 1
            end
        end
    end
    return clients, users
end

-- -- removing what is over

-- Looks at a stream; what is over goes, a bounded part of it at a time.
local function sweep_stream(name, now)
    local stream = streams:get(name)
    if stream == nil then
        return
    end
    local _, _, top, first, kept, ends, meta_ends = stream:unpack()
    local over = meta_ends <= now
    if over or ends <= now then
        first = top + 1
    end
    local done = remove(name, kept, first - 1, SWEEP)
    if over and done > top then
        streams:delete(name)
    elseif done ~= kept then
        streams:update(name, {{'=', FIRST, first}, {'=', KEPT, done}})
    end
    return done < first
end

local function sweep_streams(rows, now)
    for _, row in ipairs(rows) do
        local name, _, top, first, kept, ends, meta_ends = row:unpack()
        if meta_ends <= now or kept < first or (ends <= now and kept <= top) then
            while atomic(name, sweep_stream, now) do
                fiber.yield()
            end
        end
    end
end

local function remove_over(_, space, rows, now)
    for _, row in ipairs(rows) do
        -- It may have been prolonged while others were removed.
        local found = row.ends <= now and space:get({row[1], row[2]})
        if found and found.ends <= now then
            space:delete({row[1], row[2]})
        end
    end
end

local function sweep_rows(space)
    return function(rows, now)
        atomic('', remove_over, space, rows, now)
    end
end

local SWEPT = {
    {space = streams, work = sweep_streams},
    {space = results, work = sweep_rows(results)},
    {space = presence, work = sweep_rows(presence)},
}

-- One step: as many rows as it takes to see all of them in time.
local function sweep()
    for _, part in ipairs(SWEPT) do
        local left = math.max(SWEEP, part.space:len() * SWEEP_EVERY / SWEEP_ALL)
        while left > 0 do
            local rows = part.after == nil and part.space:select({}, {limit = SWEEP})
                or part.space:select(part.after, {iterator = 'GT', limit = SWEEP})
            part.work(rows, fiber.time())
            left = left - SWEEP
            if #rows < SWEEP then
                part.after = nil
                break
            end
            local last = rows[#rows]
            part.after = part.space == streams and {last[1]} or {last[1], last[2]}
            fiber.yield()
        end
    end
end

-- What an operator wants to know.
function call.status()
    local open, waiting, bytes = 0, 0, 0
    for _, session in pairs(sessions) do
        open = open + 1
        waiting = waiting + session.tail - session.head
        bytes = bytes + session.bytes
    end
    return {
        version = VERSION, sessions = open, waiting = waiting, waiting_bytes = bytes,
        streams = streams:len(), publications = publications:len(), presence = presence:len(),
    }
end

-- -- life

local stopped = false

local function on_disconnect()
    forget(box.session.id())
end

-- Another version takes over: all sessions begin anew.
local function stop()
    stopped = true
    box.session.on_disconnect(nil, on_disconnect)
    for id in pairs(sessions) do
        forget(id)
    end
end

box.session.on_disconnect(on_disconnect)
fiber.create(function()
    fiber.name('flyball.sweep')
    while not stopped do
        if not box.info.ro then
            local ok, why = pcall(sweep)
            if not ok then
                log.error('flyball: what is over was not removed: %s', why)
            end
        end
        fiber.sleep(SWEEP_EVERY)
    end
end)

return {call = call, stop = stop}
