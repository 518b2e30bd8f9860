"""The life of a relay in one process: its posts, its thread, and what forks do to them.

The thread is a candidate for the reader of the bus. Whether the bus is open here, and on which
seat, is the bus's own business: each step of the thread is a use of its life.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from .._bus import codec, hooks
from .._bus.loop import PAUSE_AFTER_FORK, Loop
from .._errors import NotConfigured, PayloadTooLarge, RelayError, StdeventsError
from .._log import INFO, WARNING, report
from .._system.clock import monotonic
from .._system.listener import Sleeper
from .._system.process import Mark
from .._system.threadlock import Busy, ThreadLock
from .cursor import Overtaken
from .reader import Reader
from .stream import LARGEST, Stream, written

if TYPE_CHECKING:
    from .._bus.life import Life
    from .._bus.loop import Signals
    from .._bus.seat import Seat

BLOCK = 0.2  # seconds: longest wait for an entry; a fork may have to wait as long for the thread
EVERY = 1.0  # seconds between two looks whether there is a reader
PAUSES = 0.1, 5.0  # seconds, the first and the longest, between two tries to reach Redis
TOLD_EVERY = 60.0  # seconds between two warnings that Redis is away
LONGEST_ID = written((LARGEST, LARGEST))
NOW = 0.0  # of the clock: a deadline that is over


class Poster(NamedTuple):
    """What a post is known by when it is sent once more."""

    token: str
    number: int

    @staticmethod
    def new() -> Poster:
        """One that nobody else is."""
        return Poster(secrets.token_hex(8), 0)


class Pause(Sleeper):
    """Between two looks for a reader; no bell is missed."""

    def is_intact(self) -> bool:
        """There are no files that could be closed."""
        return True


class RelayLife:
    """The life of one relay in this process; for its loop the poller, for forks a participant."""

    burst_pause = 0.0  # the stream has pauses of its own

    def __init__(
        self, bus: Life, stream: Stream, maxlen: int | None, start: str, buffer: int, host: str
    ) -> None:
        self.bus = bus
        self.stream = stream
        self._maxlen = maxlen
        self._start = start
        self._buffer = buffer
        self._host = host
        plain, origin = codec.encode("a", "b", None), (os.getpid(), host, LONGEST_ID)
        # How much longer an event is on a bus than what its poster has encoded.
        self._longer = len(codec.encode_relayed("a", "b", None, None, *origin)) - len(plain)
        #: no interval: it is closed
        self.loop = Loop(self)
        self._begin_here()

    def _begin_here(self) -> None:
        """What belongs to one process, and not to its forked children."""
        self._mark = Mark()
        self.counts: Counter[str] = Counter()
        self.reader: Reader | None = None
        self.away = False
        self._away_since = self._tell_at = 0.0
        #: posts that wait until Redis is reached
        self.waiting: deque[tuple[bytes, Poster]] = deque()
        self._turn = ThreadLock()  # of the thread that takes a step
        self._goes_on = False  # with another step, at once
        self._hurry = False
        self._start_again = False  # the thread, which could not be started
        self._queueing = threading.RLock()
        self._queue = Poster.new()
        # Each is used for one post at a time. A thread that finds none makes one more.
        self._posters: deque[Poster] = deque()

    def open(self) -> None:
        """Be a candidate, and a poster; NotConfigured if the bus is not open."""
        self.bus.use(self._open)
        hooks.enter(self)
        hooks.watch_exit()
        self.loop.start()

    def _open(self, seat: Seat) -> None:
        reader = self._reader_of(seat)
        self.loop.name, self.loop.interval = seat.name, EVERY
        try:
            reader.begin()
        except RelayError as error:
            self.lose_contact(error)

    def close(self) -> None:
        """Stop; what is still buffered is dropped."""
        self._hurry = True
        self.loop.interval = 0.0
        self.loop.stop(self._patience())
        self._resign()
        if self.waiting:
            what = "bus %r: its relay was closed with %d posts in the buffer, which are dropped"
            report(what, self.loop.name, len(self.waiting), level=WARNING)
            self.waiting.clear()

    def _patience(self) -> float:
        return self.reader.seat.settings.wait_max if self.reader is not None else BLOCK

    def is_reading(self) -> bool:
        """Does this process read the stream for its host?"""
        reader = self.reader
        return reader is not None and reader.seat is self.bus.state.seat and reader.reading

    # -- post --------------------------------------------------------------------------------------

    def post(self, source: str, event: str, data: Any, unique: str | int | None) -> str | None:
        """Post, as `Relay.post`."""
        if not self._mark.word[0]:
            self.after_fork_in_child()
        size = self.bus.use(_size_of_ring)
        if not self.loop.interval:
            raise NotConfigured("the relay is closed; make another one")
        if self._start_again:
            self._start_loop()
        record = codec.encode(source, event, data, unique)
        length = len(record) + self._longer
        if length > size:
            raise PayloadTooLarge(
                f"bus {self.loop.name!r}: the event takes {length} bytes as JSON, with where it "
                f"comes from, and the ring has {size}; post less at once, or configure a larger "
                "size",
                length,
                size,
            )
        payload = codec.without_pid(record)
        if self.waiting or (self.away and self._buffer):
            self._keep(payload, None)
            return None
        try:
            poster = self._posters.pop()
        except IndexError:
            poster = Poster.new()
        poster = poster._replace(number=poster.number + 1)
        try:
            entry = self._add(payload, poster)
        except RelayError as error:
            if not self._buffer:
                raise
            self.lose_contact(error)
            self._keep(payload, poster)
            return None
        self._posters.append(poster)
        return entry

    def _add(self, payload: bytes, poster: Poster) -> str:
        entry = self.stream.add(payload, self._host, os.getpid(), self._maxlen, *poster)
        self.counts["posted"] += 1
        self._reach()
        return entry

    def _keep(self, payload: bytes, poster: Poster | None) -> None:
        with self._queueing:
            if len(self.waiting) >= self._buffer:
                raise RelayError(
                    f"stream {self.stream.name!r}: Redis is away, and buffer={self._buffer} "
                    "posts are waiting for it; post it again later, or give the relay a larger one"
                )
            if poster is None:
                poster = self._queue = self._queue._replace(number=self._queue.number + 1)
            self.waiting.append((payload, poster))

    def send_waiting(self) -> None:
        """Put on the stream what is buffered; RelayError."""
        while self.waiting and not self._hurry:
            self._add(*self.waiting[0])
            self.waiting.popleft()

    # -- the thread --------------------------------------------------------------------------------

    def poll_in_loop(self, signals: Signals | None) -> bool:
        """One step of the thread: what waits is sent; if this is the reader, some is read."""
        self._goes_on = False
        try:
            self._turn.hold(NOW, self._step)
        except Busy:  # a thread for which a fork has not waited is in it still
            self._turn.free_from_ended_thread()
        return False

    def _step(self) -> None:
        try:
            self.bus.use(self._step_on)
        except NotConfigured:  # the bus is closed
            self._goes_on = False
        except Overtaken as error:
            report("bus %r: %s", self.loop.name, error, level=INFO)
        except RelayError as error:
            self.lose_contact(error)

    def _step_on(self, seat: Seat) -> None:
        self._goes_on = False
        self.bus.polling.look(seat)
        reader = self._reader_of(seat)
        self.send_waiting()
        if reader.elect():
            self._goes_on = True
            if not (reader.read() or self._hurry):
                reader.wait(BLOCK)
            self._reach()

    def listen(self) -> Pause:
        """What the thread waits with."""
        return Pause()

    def may_sleep(self) -> bool:
        """May the thread sleep until it looks whether there is a reader?"""
        return not self._goes_on

    def is_busy(self) -> bool:
        """Is a thread in a step, which may wait for Redis?"""
        return bool(self._turn.owner)

    def _reader_of(self, seat: Seat) -> Reader:
        before = self.reader
        if before is None or before.seat is not seat:
            # On another bus with the worker's own progress: the one before was not closed.
            was_removed = (
                before is not None
                and before.seat.epoch != seat.epoch
                and before.seat.progress is seat.progress
            )
            before = self.reader = Reader(
                seat, self.bus.handlers, self.stream, self._start, was_removed, self.counts
            )
        return before

    def _resign(self) -> None:
        reader = self.reader
        if reader is not None and self.bus.state.seat is reader.seat:
            with contextlib.suppress(StdeventsError):  # else the lease runs out
                reader.resign()

    def lose_contact(self, error: RelayError) -> None:
        """Redis is away: let another process try, and try again after a pause."""
        self._goes_on = False
        self._resign()  # another process may get through
        if self.loop.interval:
            first, longest = PAUSES
            self.loop.interval = min(2 * self.loop.interval, longest) if self.away else first
        now = monotonic()
        if not self.away:
            self.away, self._away_since = True, now
            what = "bus %r: %s; it will be tried again"
            report(what, self.loop.name, error, level=WARNING)
        elif now >= self._tell_at:
            what = "bus %r: %s; so it is for %d s, and is tried again every few seconds"
            report(what, self.loop.name, error, now - self._away_since, level=WARNING)
        else:
            return
        self._tell_at = now + TOLD_EVERY

    def _reach(self) -> None:
        if self.away:
            self.away = False
            if self.loop.interval:
                self.loop.interval = EVERY
            report("bus %r: stream %r is reached", self.loop.name, self.stream.name, level=WARNING)

    def _start_loop(self, pause: float = 0.0) -> None:
        """Start the thread; where that cannot be, the next post tries again."""
        try:
            self.loop.start(pause)
            self._start_again = False
        except RuntimeError:
            self._start_again = True

    # -- fork --------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Before a fork: the thread is not copied."""
        self._hurry = True
        self.loop.park(self._patience())

    def after_fork_in_parent(self) -> None:
        """After a fork: the thread goes on."""
        self._hurry = False
        try:
            self.loop.unpark()
        except RuntimeError:
            self._start_again = True

    def after_fork_in_child(self) -> None:
        """After a fork: be a candidate of one's own; begin later.

        May be called again when it was interrupted, or where C code has forked without hooks.
        """
        if self._mark.word[0]:
            return
        self.loop.forked()
        self._begin_here()
        if self.loop.interval:
            self.loop.interval = EVERY
            self._start_loop(PAUSE_AFTER_FORK)


def _size_of_ring(seat: Seat) -> int:
    size: int = seat.table.layout.size
    return size
