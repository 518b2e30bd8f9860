"""The scripts that Redis runs, so that each answer is of one instant."""

from __future__ import annotations

REMEMBERED = 86_400_000  # milliseconds for which a post may be sent again
LOOK_BYTES = 1 << 20  # of entries, after which a look ends
FIRST_LOOK = 4  # entries, by whose size it is known how many more to take at once
MOST_AT_ONCE = 32  # entries: others may be much larger

# KEYS: stream, post, told. ARGV: number; number and entry of the last post that was answered, or
# nothing; maxlen or nothing; host; pid; the events. Returns the last entry's id, and behind it
# ' gone' if that last post is.
ADD = f"""
local known, gone, entry = redis.call('GET', KEYS[2]), '', nil
local function add(event)
    if ARGV[3] == '' then
        return redis.call('XADD', KEYS[1], '*',
            'v', '1', 'host', ARGV[4], 'pid', ARGV[5], 'event', event)
    end
    return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*',
        'v', '1', 'host', ARGV[4], 'pid', ARGV[5], 'event', event)
end
if known ~= ARGV[2] then -- else it is as the poster knows it, as nearly always
    local number, last = string.match(known or '0 0-0', '(%d+) (.+)')
    if tonumber(number) >= tonumber(ARGV[1]) then return last end
    -- An id as text, which sorts as ids do; what somebody else may have written is before them.
    local function sorted(id)
        local time, sequence = string.match(id, '^(%d+)-(%d+)$')
        if not time then return '' end
        return string.rep('0', 20 - #time) .. time .. string.rep('0', 20 - #sequence) .. sequence
    end
    local answered, lost = string.match(ARGV[2], '(%d+) (.+)')
    -- Of a new poster, first of all, what may be refused: afterwards nothing is.
    if not known then redis.call('SET', KEYS[2], '0 0-0', 'PX', {REMEMBERED}) end
    if answered and tonumber(number) < tonumber(answered) then
        gone = ' gone'
        -- Of many posters that find it out, today or tomorrow, one tells it: where that is behind
        -- all that another one has posted, it tells of that as well.
        local told = redis.call('GET', KEYS[3])
        if not told or sorted(told) <= sorted(lost) then
            told = add('["stdevents","lost",{{"first":null,"last":"' .. lost
                .. '","count":null,"stream":' .. cjson.encode(KEYS[1]) .. '}}]')
            redis.call('SET', KEYS[3], told, 'PX', {REMEMBERED})
        end
    end
end
for i = 6, #ARGV do entry = add(ARGV[i]) end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. entry, 'PX', {REMEMBERED})
return entry .. gone
"""

# KEYS: stream. ARGV: the first entry wanted, how many at most. Each entry is one string: many small
# ones cost the client more than anything else.
LOOK = f"""
local info, has = redis.pcall('XINFO', 'STREAM', KEYS[1]), {{}}
if not info.err then
    for i = 1, #info, 2 do has[info[i]] = info[i + 1] end
elseif string.find(info.err, 'no such key') then
    has['entries-added'], has['max-deleted-entry-id'] = 0, '0-0'
else
    return info
end
-- As a client sees it, for which the last one of equal names counts.
local function distinct(f)
    local names, values = {{}}, {{}}
    for i = 1, #f, 2 do
        if not values[f[i]] then names[#names + 1] = f[i] end
        values[f[i]] = f[i + 1]
    end
    local fields = {{}}
    for i, name in ipairs(names) do fields[2 * i - 1], fields[2 * i] = name, values[name] end
    return fields
end
local first, bytes, start, left = has['first-entry'], 0, ARGV[1], tonumber(ARGV[2])
local answer = {{
    has['last-generated-id'] or '0-0', first and first[1] or '', has['length'] or 0,
    has['entries-added'] or -1, has['max-deleted-entry-id'] or '', 0,
}}
local wanted = {FIRST_LOOK}
while left > 0 do
    local found = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', math.min(wanted, left))
    for _, entry in ipairs(found) do
        local id, f = entry[1], entry[2]
        for _, text in ipairs(f) do bytes = bytes + #text end
        if #f > 8 then f = distinct(f) end
        if #f == 8 and f[1] == 'v' and f[2] == '1' and f[3] == 'host' and f[5] == 'pid'
                and f[7] == 'event' then
            id = id .. '\\n' .. f[6] .. '\\n' .. f[4] .. '\\n' .. f[8]
        end
        answer[#answer + 1] = id
    end
    if #found < math.min(wanted, left) then return answer end
    left = left - #found
    if bytes >= {LOOK_BYTES} then break end
    local time, sequence = string.match(found[#found][1], '(%d+)-(%d+)')
    if #sequence > 15 then break end -- more than Lua can count
    start = time .. '-' .. string.format('%.0f', sequence + 1)
    wanted = math.floor(({LOOK_BYTES} - bytes) * (#answer - 6) / (bytes + 1))
    wanted = math.max(1, math.min({MOST_AT_ONCE}, wanted))
end
answer[6] = 1
return answer
"""

# KEYS: stream, unique, and unique:HASH of each event. ARGV: host, milliseconds, and the entry of
# each. A mark for the event decides, never the key alone: so it holds for hosts that are late.
CLAIM = """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
-- Asked for once: thousands that were posted together are all of one millisecond.
local marks = {}
local function marks_of(time)
    if not marks[time] then
        marks[time] = {}
        for _, known in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], time, time)) do
            local entry, holder = string.match(known, '(%S+) (.*)')
            marks[time][entry] = holder
        end
    end
    return marks[time]
end
local function claim(entry, key)
    local time = string.match(entry, '%d+')
    local known = marks_of(time)
    if known[entry] then return known[entry] == ARGV[1] and 1 or 0 end
    if not redis.call('XRANGE', KEYS[1], entry, entry)[1] then return -1 end
    local mine = redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2])
    known[entry] = mine and ARGV[1] or ''
    redis.call('ZADD', KEYS[2], time, entry .. ' ' .. known[entry])
    return mine and 1 or 0
end
local answer = {}
for i = 3, #ARGV do answer[i - 2] = claim(ARGV[i], KEYS[i]) end
if first then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.match(first[1], '%d+'))
end
return answer
"""

# KEYS: stream. ARGV: ids. Returns which of them is the first that is there, from 1 on, or 0.
FIND = """
for i, id in ipairs(ARGV) do
    if redis.call('XRANGE', KEYS[1], id, id)[1] then return i end
end
return 0
"""
