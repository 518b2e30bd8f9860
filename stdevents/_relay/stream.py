"""The stream in Redis, and the scripts that ask it, so that each answer is of one instant.

An entry is `v 1 host HOST pid PID event JSON`, the JSON being `[source, event, data]`, with the key
of `unique` behind it if there is one. Beside the stream there are, under names that begin with
`{stream}:`,

    post:TOKEN      number and entry of the last post of one poster: a post that is sent again
                    after its connection was lost is not added again
    unique          which host has which `unique` event, as long as the event is in the stream
    unique:HASH     of a `unique` key, as long as that is held
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Callable, NamedTuple, Tuple

from .._bus.callbacks import is_coroutine_function
from .._errors import RelayError

REMEMBERED = 86_400_000  # milliseconds for which a post may be sent again
LARGEST = (1 << 64) - 1  # the largest number in Redis; as a count: unknown
UNKNOWN_ID = LARGEST, LARGEST
GONE, ELSEWHERE, OURS = -1, 0, 1  # how a claim ends

ADD = f"""
local known = redis.call('GET', KEYS[2])
if known then
    local number, entry = string.match(known, '(%d+) (.+)')
    if tonumber(number) >= tonumber(ARGV[1]) then return entry end
end
local entry
if ARGV[2] == '' then
    entry = redis.call('XADD', KEYS[1], '*',
        'v', '1', 'host', ARGV[3], 'pid', ARGV[4], 'event', ARGV[5])
else
    entry = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*',
        'v', '1', 'host', ARGV[3], 'pid', ARGV[4], 'event', ARGV[5])
end
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. entry, 'PX', {REMEMBERED})
return entry
"""

# Each entry as one string: many small ones cost the client more than anything else.
LOOK = """
local info, has = redis.pcall('XINFO', 'STREAM', KEYS[1]), {}
if not info.err then
    for i = 1, #info, 2 do has[info[i]] = info[i + 1] end
elseif string.find(info.err, 'no such key') then
    has['entries-added'] = 0
else
    return info
end
local first = has['first-entry']
local answer = {
    has['last-generated-id'] or '0-0', first and first[1] or '', has['length'] or 0,
    has['entries-added'] or -1, has['max-deleted-entry-id'] or '',
}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])) do
    local id, f = entry[1], entry[2]
    if #f == 8 and f[1] == 'v' and f[2] == '1' and f[3] == 'host' and f[5] == 'pid'
            and f[7] == 'event' then
        id = id .. '\\n' .. f[6] .. '\\n' .. f[4] .. '\\n' .. f[8]
    end
    answer[#answer + 1] = id
end
return answer
"""

# A mark for the event decides, never the key alone: so it holds for hosts that are late.
CLAIM = """
local time = string.match(ARGV[1], '%d+')
for _, known in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], time, time)) do
    local entry, holder = string.match(known, '(%S+) (.*)')
    if entry == ARGV[1] then return holder == ARGV[2] and 1 or 0 end
end
if not redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1] then return -1 end
local mine = redis.call('SET', KEYS[3], ARGV[2], 'NX', 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], time, ARGV[1] .. ' ' .. (mine and ARGV[2] or ''))
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.match(first, '%d+'))
return mine and 1 or 0
"""


EntryId = Tuple[int, int]


class Position(NamedTuple):
    """A place in a stream: behind the entry `milliseconds`-`sequence`."""

    milliseconds: int
    sequence: int
    added: int = LARGEST  # how many entries there were up to here; LARGEST: unknown

    @property
    def entry(self) -> tuple[int, int]:
        """Positions are compared by this."""
        return self.milliseconds, self.sequence

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


class Gap(NamedTuple):
    """Entries that are gone; None stands for what cannot be known."""

    first: EntryId | None
    last: EntryId | None
    number: int | None
    after: Position  # where to go on


class Snapshot(NamedTuple):
    """A stream at one instant, and some of its entries."""

    last: EntryId  # the id that was given last
    first: EntryId  # of the first entry that is there, or of the next one if there is none
    length: int
    added: int  # how many entries there ever were; LARGEST: unknown, before Redis 7.0
    deleted: EntryId  # the greatest id that was deleted, not trimmed; or UNKNOWN_ID
    asked: int  # how many entries at most
    entries: list[bytes]

    def gap(self, position: Position) -> Gap | None:
        """What is gone between a position and the first entry after it, if anything is."""
        if self.last < position.entry or self.added < position.added < LARGEST:
            # The stream was created again, or Redis has lost the end of it. Its entries up to
            # `last`, where that is less than what was read, may be old or new.
            if self.last < position.entry:
                return Gap(None, None, None, Position(*self.last, self.added))
            after = max(position.entry, preceding(self.first))
            known = after > position.entry
            return Gap(None, None, None, Position(*after, self.trimmed() if known else LARGEST))
        if self.first <= following(position.entry):
            return None  # only the first entries are ever trimmed
        trimmed, number = self.trimmed(), None
        if LARGEST not in (trimmed, position.added):
            number = trimmed - position.added
            if number <= 0:
                return None  # the last one that was read was trimmed, and none after it
        after = preceding(self.first)
        return Gap(following(position.entry), after, number, Position(*after, trimmed))

    def trimmed(self) -> int:
        """How many entries there were before `first`; LARGEST: unknown."""
        return LARGEST if self.deleted >= self.first else self.added - self.length

    def added_up_to(self, number: int, before: Position) -> int:
        """How many entries there were up to that of this number in the look; LARGEST: unknown.

        `before` is the position before that entry.
        """
        if number == len(self.entries) < self.asked:
            return self.added
        if before.added == LARGEST or self.deleted > before.entry:
            return LARGEST
        return before.added + 1


class Stream:
    """One stream of a client; its methods raise RelayError for all that the client raises."""

    def __init__(self, client: Any, name: str) -> None:
        self.name = name
        self._client = client
        self._beside = f"{name}:" if "{" in name else f"{{{name}}}:"  # one slot of a cluster
        self._add, self._look, self._claim = map(client.register_script, (ADD, LOOK, CLAIM))
        timeout = _options(client).get("socket_timeout")
        self._longest = float("inf") if timeout is None else timeout / 2

    def add(
        self, payload: bytes, host: str, pid: int, maxlen: int | None, poster: str, number: int
    ) -> str:
        entry: bytes = self._ask(
            self._add,
            [self.name, f"{self._beside}post:{poster}"],
            [number, "" if maxlen is None else maxlen, host, pid, payload],
        )
        return entry.decode()

    def look(self, after: Position, count: int) -> Snapshot:
        """The stream now, with at most `count` of the entries after a position."""
        start = written(following(after.entry))
        last, first, length, added, deleted, *entries = self._ask(
            self._look, [self.name], [start, count]
        )
        return Snapshot(
            parse(last),
            parse(first) if first else following(parse(last)),
            length,
            added if added >= 0 else LARGEST,
            parse(deleted) if deleted else UNKNOWN_ID,
            count,
            entries,
        )

    def wait(self, after: Position, seconds: float) -> None:
        milliseconds = max(1, int(1000 * min(seconds, self._longest)))
        self._ask(self._client.xread, {self.name: str(after)}, 1, milliseconds)

    def claim(self, wanted: list[tuple[str, str]], holder: str, timeout: float) -> list[int]:
        """Whose are these events with `unique`, each (entry, key)? OURS, ELSEWHERE, or GONE."""
        if not wanted:
            return []
        answers: list[int] = self._ask(self._ask_claims, wanted, holder, timeout)
        return answers

    def _ask_claims(self, wanted: list[tuple[str, str]], holder: str, timeout: float) -> Any:
        milliseconds = max(1, int(1000 * timeout))
        pipeline = self._client.pipeline(transaction=False)
        for entry, key in wanted:
            digest = blake2b(key.encode(), digest_size=16).hexdigest()
            keys = [self.name, f"{self._beside}unique", f"{self._beside}unique:{digest}"]
            self._claim(keys, [entry, holder, milliseconds], client=pipeline)
        return pipeline.execute()

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        # Exception: the client's errors are unknown here, where no client is imported.
        try:
            return question(*arguments)
        except Exception as error:
            raise RelayError(f"stream {self.name!r}: {type(error).__name__}: {error}") from error


def check_client(client: Any) -> None:
    """TypeError or ValueError for a client that cannot be used."""
    execute = getattr(client, "execute_command", None)
    if not (callable(execute) and callable(getattr(client, "register_script", None))):
        raise TypeError(f"client: {client!r} is not a client like redis.Redis(...)")
    if is_coroutine_function(execute):
        raise TypeError(f"client: {client!r} is asynchronous; give the relay a redis.Redis(...)")
    if _options(client).get("decode_responses"):
        raise ValueError(
            "client: it has decode_responses=True, but entries of others may not be text; "
            "give the relay one without"
        )


def _options(client: Any) -> dict[str, Any]:
    options: dict[str, Any] = getattr(client, "get_connection_kwargs", dict)()
    return options


def parse(entry: bytes) -> EntryId:
    """An entry's id as two numbers, which compare as ids do; or ValueError."""
    milliseconds, sequence = entry.split(b"-")
    return int(milliseconds), int(sequence)


def written(entry: EntryId) -> str:
    """The id as it is written."""
    return f"{entry[0]}-{entry[1]}"


def following(entry: EntryId) -> EntryId:
    """The least id that is greater."""
    milliseconds, sequence = entry
    return (milliseconds, sequence + 1) if sequence < LARGEST else (milliseconds + 1, 0)


def preceding(entry: EntryId) -> EntryId:
    """The greatest id that is less."""
    milliseconds, sequence = entry
    return (milliseconds, sequence - 1) if sequence else (milliseconds - 1, LARGEST)
