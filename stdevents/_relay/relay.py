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
from typing import Any, Iterable, NamedTuple, NoReturn, Sequence

from .._bus import codec
from .._bus.bus import Bus, life_of
from .._bus.settings import count
from .._names import text_of
from .client import check_client
from .entries import LONGEST_NAME
from .ids import LARGEST, parse
from .life import RelayLife
from .posting import PostOptions
from .reader import LAST
from .stream import Stream, check_braces

MAXLEN = 100_000
LARGEST_LENGTH = (1 << 63) - 1  # that Redis takes
COUNTED = "posted", "refused", "relayed", "elsewhere", "skipped", "gaps"


class RelayStats(NamedTuple):
    """What `Relay.stats()` returns.

    Of this process, since it was made or forked: `posted`, events that it put on the stream;
    `buffered`, events that wait until Redis is reached; `refused`, events from the buffer that
    Redis refused, and that were dropped; `relayed`, events of the stream that it put on the bus;
    `elsewhere`, `unique` events that it left to another host; `skipped`, entries of the stream that
    were no events; `gaps`, how often it announced lost events; `reading`: does it read the stream
    for its host? `away_since`: since when Redis does not answer it, or refuses that it reads, in
    seconds since the epoch; None if neither.

    Of its host: `stream`, the name; `position`, the id of the entry up to which the bus has all;
    `lag`, how many entries came after that when Redis was asked last; `reader`, the pid of the
    process whose turn it is to read, though Redis may be away. Each is None where that is not
    known, or there is none.
    """

    posted: int
    buffered: int
    refused: int
    relayed: int
    elsewhere: int
    skipped: int
    gaps: int
    reading: bool
    away_since: float | None
    stream: str
    position: str | None
    lag: int | None
    reader: int | None


class Relay:
    """Events to all hosts whose relays have the same stream of the same Redis.

    `bus` is open, and belongs to one stream as long as it exists. `client` is a redis-py client,
    `redis.Redis(..., socket_timeout=5)`, or one of its RedisCluster or Sentinel, without
    `decode_responses`, and with more than one connection; it stays the user's. Its timeouts and
    retries are how long a `post` may take while Redis is away, so that one without
    `socket_timeout` is refused. `stream` is the key.

    `maxlen`: about how many entries Redis is to keep, for hosts that are behind; None: all.
    `start`: where a bus begins on which there was no relay yet; "last": where the last bus of this
    name on this host was, or like "new" where Redis knows of none; "new": with what is posted from
    now on, "oldest": with what the stream has, "1690000000000-0": after the entry of that id.
    `buffer`: how many events this process keeps, to post them later, while Redis is away; 0: such
    a post raises. Where the process knows that already, no post waits for the client. `host`: what
    handlers are told of where its events come from; the name of the machine if it is left out.
    Redis keeps the place of this host as a consumer group named `HOST/BUS`, so two buses of one
    name have to say different hosts.

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
        start: str = LAST,
        buffer: int = 0,
        host: str | None = None,
    ) -> None:
        if not isinstance(bus, Bus):
            raise TypeError(f"bus: {bus!r} is not a stdevents.Bus, as configure() returns it")
        check_client(client)
        stream = _check_name("stream", stream)
        check_braces(stream)
        self._bus = bus
        self._life = RelayLife(
            life_of(bus),
            Stream(client, stream),
            _check_start(start),
            PostOptions(
                None if maxlen is None else count("maxlen", maxlen, 1, LARGEST_LENGTH),
                count("buffer", buffer, 0),
                _check_name("host", os.uname().nodename if host is None else host),
            ),
        )
        self._life.open()

    def __repr__(self) -> str:
        return f"<Relay of {self._bus!r} over {self._life.stream.name!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled; make one in the other process")

    def stats(self) -> RelayStats:
        """Counts of this process, and how far its host is. LockTimeout."""
        life = self._life
        position, lag, reader, _ = life.standing()
        # In this order: else it reads and is away where its thread finds that out in between.
        away_since = life.contact.away_since or None
        return RelayStats(
            **{what: life.counts[what] for what in COUNTED},
            buffered=life.posting.buffered(),
            reading=life.is_reading(),
            away_since=away_since,
            stream=life.stream.name,
            position=position and str(position),
            lag=lag,
            reader=reader or None,
        )

    def close(self) -> None:
        """Stop; posts that are still buffered are dropped, with a warning. Twice is fine.

        The process that reads, if no other one does, tells Redis how far the host is: as long as
        the client waits at most. The bus stays open. Where the bus is closed first, its relays tell
        Redis by themselves, a moment later.
        """
        self._life.close()

    def post(
        self, source: str, event: str, data: Any = None, unique: str | int | None = None
    ) -> str | None:
        """Put an event on the stream, for all workers of all hosts, this one's included.

        `data` is anything that the json module can write. With `unique` one worker of all hosts
        handles it: on the first host that comes to it and whose reader (the one process that reads
        the stream for that host) has a handler for it; there it is as if it had been posted on the
        bus. The key is held for `timeout` seconds from then, for all hosts.

        Returns the id of its entry, or None if it is in the buffer. Raises what `Bus.post` does,
        but for NoRoom and LockTimeout; RelayError when Redis is away, and nothing more goes into
        the buffer, or when Redis refuses it. Where Redis is away the event may be on the stream
        nevertheless, if the connection was lost in the middle. It takes as long as the client
        does, in this thread alone: local posts and polls do not wait for it.
        """
        return self._life.post((codec.encode(source, event, data, unique),))

    def post_many(self, events: Iterable[Sequence[Any]]) -> str | None:
        """Put several events on the stream together: all of them, or none, one behind the other.

        Each is `(source, event, data)` or `(source, event, data, unique)`, as `post` takes them.
        It is one request of Redis, which answers nobody else meanwhile: so they may be 4,096, and
        4 MiB as JSON, at the most. On each host they may still be read in parts.

        Returns the id of the last one's entry, or None if they are in the buffer, or there are
        none. Raises what `post` does; TypeError, ValueError and EncodeError name the place in
        `events`; PayloadTooLarge is for one, or for all of them together. Nothing was posted then,
        unless the connection was lost in the middle.
        """
        records = [codec.encode_one(index, one) for index, one in enumerate(codec.listed(events))]
        return self._life.post(records) if records else None


def _check_name(what: str, name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what}: {name!r} is not a str")
    text = text_of(name)
    if not text.isprintable() or not 0 < len(text.encode()) <= LONGEST_NAME:
        raise ValueError(
            f"{what}: {name!r} cannot be one; take 1 to {LONGEST_NAME} bytes of printable text"
        )
    return text


def _check_start(start: Any) -> str:
    if not isinstance(start, str):
        what = '"last", "new", "oldest", or an entry\'s id'
        raise TypeError(f"start: {start!r} is not a str; it is {what}")
    text = text_of(start)
    if text not in (LAST, "new", "oldest"):
        try:
            entry = parse(text.encode())
            if max(entry) > LARGEST or min(entry) < 0:
                raise ValueError
        except ValueError:
            raise ValueError(
                f'start: {start!r} is neither "last", "new" nor "oldest", '
                'nor an id like "1690000000000-0"'
            ) from None
    return text
