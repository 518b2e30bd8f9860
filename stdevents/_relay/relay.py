"""`Relay`: events between hosts, over a stream in Redis.

    host A                       Redis                      host B
    Relay.post ── encode ──▶ the stream 1-0 2-0 … ──▶ its reader ── append ──▶ its bus
                                            └───────▶ A's reader ── append ──▶ A's bus

The stream gives the order, and each host's bus takes it over: one process of the host, the
reader, appends what it reads, each event together with its place in the stream, by the rules of
`cursor`. In every process that has a relay there is a thread, which is a candidate for that.

Here are signatures, docstrings, and the checks of what is given; the rest is in `life`.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from .._bus.bus import Bus, life_of
from .._bus.settings import count
from .life import RelayLife
from .reader import LONGEST_NAME
from .stream import LARGEST, Stream, check_client, parse

MAXLEN = 100_000


class RelayStats(NamedTuple):
    """What `Relay.stats()` returns: counts of this process, since it was made or forked.

    `posted`: events that it put on the stream. `buffered`: posts that wait in this process until
    Redis is reached. `relayed`: events of the stream that it put on the bus. `elsewhere`: `unique`
    events that it left to another host. `skipped`: entries of the stream that were no events.
    `gaps`: how often it announced lost events. `reading`: does this process read the stream for
    its host?
    """

    posted: int
    buffered: int
    relayed: int
    elsewhere: int
    skipped: int
    gaps: int
    reading: bool


class Relay:
    """Events to all hosts whose relays have the same stream of the same Redis.

    `bus` is open, and belongs to one stream as long as it exists. `client` is a redis-py client,
    `redis.Redis(...)`, without `decode_responses`; it stays the user's. Its timeouts and retries
    are how long a `post` may take while Redis is away. `stream` is the key.

    `maxlen`: about how many entries Redis is to keep, for hosts that are behind; None: all.
    `start`: where a bus begins on which there was no relay yet; "new": with what is posted from
    now on, "oldest": with what the stream has, "1690000000000-0": after the entry of that id.
    `buffer`: how many posts this process keeps, to send them later, while Redis is away; 0: such
    a post raises. `host`: what handlers are told of where its events come from; the name of the
    machine if it is left out.

    TypeError or ValueError for a bad option, which is named; NotConfigured; StdeventsError if the
    bus belongs to another stream; LockTimeout. Redis may be away still: that is logged, and
    "new" is from when it is reached. A forked child has the relay, too, without its buffer.
    """

    def __init__(
        self,
        bus: Bus,
        client: Any,
        stream: str,
        *,
        maxlen: int | None = MAXLEN,
        start: str = "new",
        buffer: int = 0,
        host: str | None = None,
    ) -> None:
        if not isinstance(bus, Bus):
            raise TypeError(f"bus: {bus!r} is not a stdevents.Bus, as configure() returns it")
        check_client(client)
        _check_name("stream", stream)
        self._bus = bus
        self._life = RelayLife(
            life_of(bus),
            Stream(client, stream),
            None if maxlen is None else count("maxlen", maxlen, 1),
            _check_start(start),
            count("buffer", buffer, 0),
            _check_name("host", os.uname().nodename if host is None else host),
        )
        self._life.open()

    def __repr__(self) -> str:
        return f"<Relay of {self._bus!r} over {self._life.stream.name!r}>"

    def stats(self) -> RelayStats:
        """Counts of this process."""
        life = self._life
        counted = ("posted", "relayed", "elsewhere", "skipped", "gaps")
        return RelayStats(
            **{what: life.counts[what] for what in counted},
            buffered=len(life.waiting),
            reading=life.is_reading(),
        )

    def close(self) -> None:
        """Stop; posts that are still buffered are dropped, with a warning. Twice is fine.

        The bus stays open. A bus that is closed first leaves the relay without anything to do.
        """
        self._life.close()

    def post(
        self, source: str, event: str, data: Any = None, unique: str | int | None = None
    ) -> str | None:
        """Put an event on the stream, for all workers of all hosts, this one's included.

        `data` is anything that the json module can write. With `unique` one worker of all hosts
        handles it: on the host that comes to it first and whose reader, the one process that
        reads the stream for it, has a handler for it; there it is as if it was posted on the bus.
        The key is held for `timeout` seconds from then, for all hosts.

        Returns the id of its entry, or None if it is in the buffer. Raises what `Bus.post` does,
        but for NoRoom and LockTimeout; RelayError when Redis is away, or refuses, and nothing
        more goes into the buffer. The event may be on the stream nevertheless, if the
        connection was lost in the middle. It takes as long as the client does, in this thread
        alone: local posts and polls do not wait for it.
        """
        return self._life.post(source, event, data, unique)


def _check_name(what: str, name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what}: {name!r} is not a str")
    if not name.isprintable() or not 0 < len(name.encode()) <= LONGEST_NAME:
        raise ValueError(
            f"{what}: {name!r} cannot be one; take 1 to {LONGEST_NAME} bytes of printable text"
        )
    return name


def _check_start(start: Any) -> str:
    if not isinstance(start, str):
        raise TypeError(f'start: {start!r} is not a str; it is "new", "oldest", or an entry\'s id')
    if start not in ("new", "oldest"):
        try:
            entry = parse(start.encode())
            if max(entry) > LARGEST or min(entry) < 0:
                raise ValueError
        except ValueError:
            raise ValueError(
                f'start: {start!r} is neither "new" nor "oldest" nor an id like "1690000000000-0"'
            ) from None
    return start
