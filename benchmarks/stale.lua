-- For wrk: each thread, with one connection, changes a price of its own and then looks it up, again
-- and again. A look-up begins after the change was answered: one that finds another price is stale.
--
--     stale.lua GETS     how many look-ups after each change (default 9)

local ffi = require("ffi")
ffi.cdef [[
typedef struct { long seconds; long nanoseconds; } moment;
int clock_gettime(int clock, moment *now);
]]
local moment = ffi.new("moment")

local function now() -- microseconds
    ffi.C.clock_gettime(1, moment)
    return tonumber(moment.seconds) * 1e6 + tonumber(moment.nanoseconds) / 1e3
end

local threads = {}

function setup(thread)
    thread:set("number", #threads)
    table.insert(threads, thread)
end

function init(arguments)
    gets = tonumber(arguments[1]) or 9
    step, count = 0, 0
    puts_done, gets_done, stale, failed = 0, 0, 0, 0
    put_times, get_times = "", ""
    path = "/prices/wrk-" .. number
    wrk.headers["Connection"] = "close" -- so that each request may reach another worker
end

function request() -- wrk calls it more often than it sends: only an answer changes anything
    changing = step == 0
    begun = now()
    if changing then
        return wrk.format("PUT", path, nil, tostring(count + 1))
    end
    return wrk.format("GET", path)
end

function response(status, headers, body)
    local time = string.format("%d ", now() - begun)
    step = (step + 1) % (gets + 1)
    if changing then
        count = count + 1
    end
    if status ~= 200 then
        failed = failed + 1
    elseif changing then
        puts_done = puts_done + 1
        put_times = put_times .. time
    else
        gets_done = gets_done + 1
        get_times = get_times .. time
        if not body:find('"price": ?"' .. count .. '"') then
            stale = stale + 1
        end
    end
end

local function median(times)
    table.sort(times)
    return times[math.ceil(#times / 2)] or 0, times[math.ceil(#times * 0.99)] or 0
end

function done(summary, latency, requests)
    local sum = { puts_done = 0, gets_done = 0, stale = 0, failed = 0 }
    local times = { put_times = {}, get_times = {} }
    for _, thread in ipairs(threads) do
        for name, value in pairs(sum) do
            sum[name] = value + thread:get(name)
        end
        for name, all in pairs(times) do
            for time in thread:get(name):gmatch("%d+") do
                table.insert(all, tonumber(time))
            end
        end
    end
    local put, put99 = median(times.put_times)
    local get, get99 = median(times.get_times)
    io.write(string.format(
        '{"puts": %d, "gets": %d, "stale": %d, "failed": %d, "put": [%d, %d], "get": [%d, %d], '
            .. '"seconds": %.1f}\n',
        sum.puts_done, sum.gets_done, sum.stale, sum.failed, put, put99, get, get99,
        summary.duration / 1e6))
end
