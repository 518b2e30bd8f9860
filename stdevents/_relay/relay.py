"""`Relay`: events between hosts, over a stream in Redis.

    host A                       Redis                      host B
    Relay.post ── encode ──▶ the stream 1-0 2-0 … ──▶ its reader ── append ──▶ its bus
                                            └───────▶ A's reader ── append ──▶ A's bus

The stream gives the order, and each host's bus takes it over: one process of the host, the
reader, appends what it reads, each event together with its place in the stream, by the rules of
`_cursor`. In every process that has a relay there is a thread, which is a candidate for that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import Counter, deque
from typing import Any, NamedTuple

from .._bus import codec as _codec
from .._bus import hooks as _hooks
from .._bus.bus import Bus
from .._bus.loop import Loop
from .._bus.session import Session
from .._bus.settings import count
from .._errors import NotConfigured, RelayError, StdeventsError
from .._log import logger
from .._system.bell import Sleeper
from .._system.filelock import Stranded
from .._system.threadlock import Turn
from .cursor import Overtaken
from .reader import LONGEST_NAME, Reader
from .stream import LARGEST, Stream, check_client, parse, written

BLOCK = 0.2  # seconds: longest wait for an entry; a fork may have to wait as long for the thread
EVERY = 1.0  # seconds between two looks whether there is a reader
PAUSES = 0.1, 5.0  # seconds, the first and the longest, between two tries to reach Redis
MAXLEN = 100_000
LONGEST_ID = written((LARGEST, LARGEST))


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


class _Poster(NamedTuple):
    """What a post is known by when it is sent once more."""

    token: str
    number: int


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
        self._stream = Stream(client, stream)
        self._maxlen = None if maxlen is None else count("maxlen", maxlen, 1)
        self._start = _check_start(start)
        self._buffer = count("buffer", buffer, 0)
        self._host = _check_name("host", os.uname().nodename if host is None else host)
        self._loop = Loop(self._step, Sleeper, lambda: not self._busy)
        self._begin_again()
        reader = self._reader_of(bus._ready())
        self._loop.name = reader.session.segment.name
        self._loop.interval = EVERY
        try:
            reader.begin()
        except RelayError as error:
            self._lose_contact(error)
        _hooks.enter(self)
        _hooks.watch_exit()
        self._loop.start()

    def _begin_again(self) -> None:
        self._counts: Counter[str] = Counter()
        self._reader: Reader | None = None
        self._turn = Turn()
        self._busy = False
        self._hurry = False
        self._away = False
        self._waiting: deque[tuple[bytes, _Poster]] = deque()
        self._queueing = threading.RLock()
        self._queue = _Poster(secrets.token_hex(8), 0)
        # Each is used for one post at a time. A thread that finds none makes one more.
        self._posters: deque[_Poster] = deque()

    def __repr__(self) -> str:
        return f"<Relay of {self._bus!r} over {self._stream.name!r}>"

    def stats(self) -> RelayStats:
        """Counts of this process."""
        counted = ("posted", "relayed", "elsewhere", "skipped", "gaps")
        return RelayStats(
            **{what: self._counts[what] for what in counted},
            buffered=len(self._waiting),
            reading=self._reader is not None
            and self._reader.session is self._bus._session
            and self._reader.reading,
        )

    def close(self) -> None:
        """Stop; posts that are still buffered are dropped, with a warning. Twice is fine.

        The bus stays open. A bus that is closed first leaves the relay without anything to do.
        """
        self._hurry = True
        self._loop.interval = 0.0
        self._loop.stop(self._patience())
        self._resign()
        if self._waiting:
            what = "bus %r: its relay was closed with %d posts in the buffer, which are dropped"
            logger().warning(what, self._loop.name, len(self._waiting))
            self._waiting.clear()

    def _patience(self) -> float:
        return self._reader.session.settings.wait_max if self._reader is not None else BLOCK

    # -- post --------------------------------------------------------------------------------------

    def post(
        self, source: str, event: str, data: Any = None, unique: str | int | None = None
    ) -> str | None:
        """Put an event on the stream, for all workers of all hosts, this one's included.

        As `Bus.post`, but that with `unique` one worker of all hosts handles it. It is for the
        host that comes to it first and whose reader, the one process that reads the stream for
        it, has a handler for it; there it is as if it was posted on the bus. The key is held for
        `timeout` seconds from then, for all hosts.

        Returns the id of its entry, or None if it is in the buffer. Raises what `Bus.post` does,
        but for NoRoom and LockTimeout; RelayError when Redis is away, or refuses, and nothing
        more goes into the buffer. The event may be on the stream nevertheless, if the
        connection was lost in the middle. It takes as long as the client does, in this thread
        alone: local posts and polls do not wait for it.
        """
        session = self._bus._ready()
        if not self._loop.interval:
            raise NotConfigured("the relay is closed; make another one")
        payload, flags = _codec.encode(source, event, data, unique)
        whole, _ = _codec.relayed(payload, flags, self._host, LONGEST_ID)
        if len(whole) > session.segment.layout.size:
            raise session.table.too_large(len(whole), 1)
        if self._waiting or (self._away and self._buffer):
            self._keep(payload, None)
            return None
        try:
            poster = self._posters.pop()
        except IndexError:
            poster = _Poster(secrets.token_hex(8), 0)
        poster = poster._replace(number=poster.number + 1)
        try:
            entry = self._add(payload, poster)
        except RelayError as error:
            if not self._buffer:
                raise
            self._lose_contact(error)
            self._keep(payload, poster)
            return None
        self._posters.append(poster)
        return entry

    def _add(self, payload: bytes, poster: _Poster) -> str:
        entry = self._stream.add(payload, self._host, os.getpid(), self._maxlen, *poster)
        self._counts["posted"] += 1
        self._reach()
        return entry

    def _keep(self, payload: bytes, poster: _Poster | None) -> None:
        with self._queueing:
            if len(self._waiting) >= self._buffer:
                raise RelayError(
                    f"stream {self._stream.name!r}: Redis is away, and buffer={self._buffer} "
                    "posts are waiting for it; post it again later, or give the relay a larger one"
                )
            if poster is None:
                poster = self._queue = self._queue._replace(number=self._queue.number + 1)
            self._waiting.append((payload, poster))

    def _send_waiting(self) -> None:
        while self._waiting and not self._hurry:
            self._add(*self._waiting[0])
            self._waiting.popleft()

    # -- the thread --------------------------------------------------------------------------------

    def _step(self) -> None:
        """One step of the thread: what waits is sent; if this is the reader, some is read."""
        self._busy = False
        if not self._turn.try_take():  # a thread for which a fork has not waited is in it still
            return
        session = None
        try:
            session = self._bus._ready()
            reader = self._reader_of(session)
            self._send_waiting()
            if reader.elect():
                self._busy = True
                if not (reader.read() or self._hurry):
                    reader.wait(BLOCK)
                self._reach()
        except NotConfigured:  # the bus is closed
            self._busy = False
        except Overtaken as error:
            logger().info("bus %r: %s", self._loop.name, error)
        except RelayError as error:
            self._lose_contact(error)
        except (ValueError, Stranded) as error:
            self._busy = False
            assert session is not None
            with contextlib.suppress(NotConfigured):
                self._bus._recover_from(session, error)
        finally:
            self._turn.give()

    def _reader_of(self, session: Session) -> Reader:
        before = self._reader
        if before is None or before.session is not session:
            was_removed = before is not None and before.session.segment.lock.stranded
            self._reader = Reader(
                self._bus, session, self._stream, self._start, was_removed, self._counts
            )
        assert self._reader is not None
        return self._reader

    def _resign(self) -> None:
        reader = self._reader
        if reader is not None and self._bus._session is reader.session:
            with contextlib.suppress(StdeventsError, ValueError):  # else the lease runs out
                reader.resign()

    def _lose_contact(self, error: RelayError) -> None:
        self._busy = False
        self._resign()  # another process may get through
        if self._loop.interval:
            first, longest = PAUSES
            self._loop.interval = min(2 * self._loop.interval, longest) if self._away else first
        if not self._away:
            self._away = True
            logger().warning("bus %r: %s; it will be tried again", self._loop.name, error)

    def _reach(self) -> None:
        if self._away:
            self._away = False
            if self._loop.interval:
                self._loop.interval = EVERY
            logger().warning("bus %r: stream %r is reached", self._loop.name, self._stream.name)

    # -- fork --------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        """For the fork hooks: have the thread not copied."""
        self._hurry = True
        self._loop.park(self._patience())

    def _after_fork_in_parent(self) -> None:
        """For the fork hooks: go on."""
        self._hurry = False
        self._loop.resume()

    def _after_fork_in_child(self) -> None:
        """For the fork hooks: be a candidate of one's own."""
        self._loop.forked()
        self._begin_again()
        if self._loop.interval:
            self._loop.interval = EVERY
            self._loop.start()


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
