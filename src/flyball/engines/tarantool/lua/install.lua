-- Makes the spaces and the function, and puts the module in its place. Safe to run again.
-- Arguments: source of the module, its version, the oldest one that it stands for, name of a user
-- that may call it ('' for none), whether each change must be confirmed by a quorum.
local source, version, oldest, user, synchronous = ...
local fiber = require('fiber')

local function make_space(name, format, parts)
    local options = {if_not_exists = true, format = format}
    if synchronous then
        options.is_sync = true
    end
    local space = box.schema.space.create(name, options)
    space:create_index('primary', {if_not_exists = true, parts = parts})
    return space
end

local function field(name, kind)
    return {name = name, type = kind}
end

local BODY = [[
function(what, ...)
    local module = rawget(_G, 'flyball_module')
    if module == nil then
        local row = box.space.flyball_module:get(1)
        module = assert(loadstring(row.source, '@flyball'))(row.version, row.oldest)
        rawset(_G, 'flyball_module', module)
        local space = box.space.flyball_module
        local function replaced()
            require('fiber').new(function()
                space:on_replace(nil, replaced)
                module.stop()
                rawset(_G, 'flyball_module', nil)
            end)
        end
        space:on_replace(replaced)
    end
    local work = module.call[what]
    if work == nil then
        error('flyball has no function ' .. tostring(what))
    end
    return work(...)
end
]]

local function install()
    make_space('flyball_streams', {
        field('name', 'string'), field('epoch', 'string'),
        field('top', 'unsigned'), field('first', 'unsigned'), field('kept', 'unsigned'),
        field('ends', 'number'), field('meta_ends', 'number'), field('version', 'unsigned'),
        field('version_epoch', 'string'),
    }, {'name'})
    make_space('flyball_publications', {
        field('name', 'string'), field('offset', 'unsigned'), field('data', 'string'),
        field('rest', 'string'),
    }, {'name', 'offset'})
    make_space('flyball_results', {
        field('name', 'string'), field('key', 'string'), field('offset', 'unsigned'),
        field('epoch', 'string'), field('ends', 'number'),
    }, {'name', 'key'})
    make_space('flyball_presence', {
        field('name', 'string'), field('client', 'string'), field('user', 'string'),
        field('info', 'string'), field('ends', 'number'),
    }, {'name', 'client'})
    local modules = make_space('flyball_module', {
        field('id', 'unsigned'), field('version', 'unsigned'), field('oldest', 'unsigned'),
        field('source', 'string'),
    }, {'id'})
    local row = modules:get(1)
    if row == nil or row.version < version or (row.version == version and row.source ~= source) then
        modules:replace({1, version, oldest, source})
    end
    box.schema.func.create('flyball', {if_not_exists = true, setuid = true, body = BODY})
    if user ~= '' then
        box.schema.user.grant(user, 'execute', 'function', 'flyball', {if_not_exists = true})
    end
end

-- Nodes that start at the same time wait for each other.
while rawget(_G, 'flyball_installing') do
    fiber.sleep(0.01)
end
rawset(_G, 'flyball_installing', true)
local ok, why = pcall(install)
rawset(_G, 'flyball_installing', nil)
if not ok then
    error(why, 0)
end
