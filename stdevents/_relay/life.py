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
from typing import TYPE_CHECKING, Any, NamedTuple, Sequence

from .._bus import codec, hooks
from .._bus.loop import PAUSE_AFTER_FORK, Loop
from .._errors import NotConfigured, PayloadTooLarge, RelayError, StdeventsError
from .._log import INFO, WARNING, report
from .._system.clock import monotonic
from .._system.listener import Sleeper
from .._system.process import Mark
from .._system.threadlock import Busy, ThreadLock
from .client import is_away
from .contact import POST, READ, Contact
from .cursor import Overtaken
from .ids import LARGEST_ID, written
from .reader import LAST, Reader
from .scripts import REMEMBERED
from .stream import Stream

if TYPE_CHECKING:
    from .._bus.life import Life
    from .._bus.loop import Signals
    from .._bus.seat import Seat
    from .ids import Position

BLOCK = 0.2  # seconds: longest wait for an entry; a fork may have to wait as long for the thread
EVERY = 0.25  # seconds between two looks whether there is a reader
LONGEST_ID = written(LARGEST_ID)
NOW = 0.0  # of the clock: a deadline that is over
FORGOTTEN = REMEMBERED / 2000  # seconds, after which Redis may have forgotten the last post


class Poster(NamedTuple):
    """What a post is known by when it is sent once more, and what is known of the one before."""

    token: str
    number: int
    answered: int = 0  # its number; 0: there was none
    entry: str = ""
    at: float = 0.0  # on the clock

    @staticmethod
    def new() -> Poster:
        """One that nobody else is."""
        return Poster(secrets.token_hex(8), 0)

    def next(self) -> Poster:
        """The poster of one more post."""
        if monotonic() > self.at + FORGOTTEN:
            return self._replace(number=self.number + 1, answered=0, entry="")
        return self._replace(number=self.number + 1)

    def answer(self, entry: str) -> Poster:
        """The poster after its post was answered."""
        return self._replace(answered=self.number, entry=entry, at=monotonic())


class Waiting(NamedTuple):
    """A post, of one event or several, that waits until Redis is reached."""

    payloads: tuple[bytes, ...]
    poster: Poster


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
        self.contact = Contact(self.bus.name, self.stream.name)
        #: posts that wait until Redis is reached
        self.waiting: deque[Waiting] = deque()
        self._turn = ThreadLock()  # of the thread that takes a step
        self._began = 0.0  # that step, on the clock
        self._goes_on = False  # with another step, at once
        self._hurry = False
        self._start_again = False  # the thread, which could not be started
        self._queueing = threading.RLock()
        self._queue = self._sent = Poster.new()  # of the buffer: at its end, and sent last
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
            self._fail(READ, error)

    def close(self) -> None:
        """Stop; what is still buffered is dropped."""
        self._hurry = True
        self.loop.interval = 0.0
        self.loop.stop(self._patience())
        if not self.is_busy():
            self._leave()
        self._resign()
        if self.waiting:
            what = "bus %r: its relay was closed with %d posts in the buffer, which are dropped"
            report(what, self.loop.name, self.buffered(), level=WARNING)
            self.waiting.clear()

    def _leave(self) -> None:
        reader = self.reader
        if reader is not None and not self.contact.fails(READ):
            with contextlib.suppress(StdeventsError):  # the next bus of this host begins earlier
                reader.keep_at_end()
        self.stream.leave()

    def _patience(self) -> float:
        """Seconds to wait for the thread: none where its step takes long, as it waits for Redis."""
        longest = self.reader.seat.settings.wait_max if self.reader is not None else BLOCK
        return max(0.0, longest - (monotonic() - self._began)) if self.is_busy() else longest

    def is_reading(self) -> bool:
        """Does this process read the stream for its host?"""
        reader = self.reader
        return reader is not None and reader.seat is self.bus.state.seat and reader.reading

    def standing(self) -> tuple[Position | None, int | None, int]:
        """How far the bus of this host is, as `Reader.standing`; nothing if it is closed."""
        try:
            return self.bus.use(lambda seat: self._reader_of(seat).standing())
        except NotConfigured:
            return None, None, 0

    def buffered(self) -> int:
        """How many events wait until Redis is reached."""
        return sum(len(one.payloads) for one in self.waiting)

    # -- post --------------------------------------------------------------------------------------

    def post(self, source: str, event: str, data: Any, unique: str | int | None) -> str | None:
        """Post, as `Relay.post`."""
        size = self._size_of_ring()
        return self._send((self._payload(codec.encode(source, event, data, unique), size),))

    def post_many(self, given: Sequence[Any]) -> str | None:
        """Post, as `Relay.post_many`."""
        size = self._size_of_ring()
        records = [codec.encode_one(index, one) for index, one in enumerate(given)]
        return self._send(tuple([self._payload(record, size) for record in records]))

    def _size_of_ring(self) -> int:
        if not self._mark.word[0]:
            self.after_fork_in_child()
        size = self.bus.use(_size_of_ring)
        if not self.loop.interval:
            raise NotConfigured("the relay is closed; make another one")
        if self._start_again:
            self._start_loop()
        return size

    def _payload(self, record: bytes, size: int) -> bytes:
        length = len(record) + self._longer
        if length > size:
            raise PayloadTooLarge(
                f"bus {self.loop.name!r}: the event takes {length} bytes as JSON, with where it "
                f"comes from, and the ring has {size}; post less at once, or configure a larger "
                "size",
                length,
                size,
            )
        return codec.without_pid(record)

    def _send(self, payloads: tuple[bytes, ...]) -> str | None:
        if self._buffer and (self.waiting or self.contact.fails(POST)):
            self._keep(payloads, None)
            return None
        try:
            poster = self._posters.pop()
        except IndexError:
            poster = Poster.new()
        poster = poster.next()
        try:
            entry = self._add(payloads, poster)
        except RelayError as error:
            if is_away(error):
                self.contact.failed(POST, error)
                if self._buffer:
                    self._keep(payloads, poster)
                    return None
            self._posters.append(poster)
            raise
        self._posters.append(poster.answer(entry))
        return entry

    def _add(self, payloads: tuple[bytes, ...], poster: Poster) -> str:
        answered = poster.answered, poster.entry
        try:
            added = self.stream.add(
                payloads, self._host, os.getpid(), self._maxlen,
                poster.token, poster.number, answered,
            )  # fmt: skip
        except RelayError as error:
            if not is_away(error):
                self._reached(POST)
            raise
        self.counts["posted"] += len(payloads)
        self._reached(POST)
        if added.gone:
            what = (
                "bus %r: Redis has lost what was posted to stream %r up to %s, or more: all hosts "
                "are told; have it persist what it has"
            )
            report(what, self.loop.name, self.stream.name, poster.entry, level=WARNING)
        return added.entry

    def _keep(self, payloads: tuple[bytes, ...], poster: Poster | None) -> None:
        with self._queueing:
            if self.buffered() + len(payloads) > self._buffer:
                raise RelayError(
                    f"stream {self.stream.name!r}: Redis is away, and buffer={self._buffer} "
                    f"posts are the most that wait for it; {self.buffered()} do, and "
                    f"{len(payloads)} more would; post later, or give the relay a larger one"
                )
            if poster is None:
                poster = self._queue = self._queue.next()
            self.waiting.append(Waiting(payloads, poster))

    def send_waiting(self) -> None:
        """Put on the stream what is buffered; RelayError if Redis is away."""
        while self.waiting and not self._hurry:
            payloads, poster = self.waiting[0]
            if poster.token == self._sent.token:
                poster = self._sent._replace(number=poster.number - 1).next()
            try:
                entry = self._add(payloads, poster)
            except RelayError as error:
                if is_away(error):
                    raise
                self.counts["refused"] += len(payloads)
                what = "bus %r: %s; a post from the buffer is dropped, %d so far"
                report(what, self.loop.name, error, self.counts["refused"], level=WARNING)
            else:
                if poster.token == self._sent.token:
                    self._sent = poster.answer(entry)
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
        self._began = monotonic()
        try:
            self.bus.use(self._step_on)
        except NotConfigured:  # the bus is closed
            self._goes_on = False
        except Overtaken as error:
            report("bus %r: %s", self.loop.name, error, level=INFO)

    def _step_on(self, seat: Seat) -> None:
        self._goes_on = False
        self.bus.polling.look(seat)
        try:
            self._read(self._reader_of(seat))
        except RelayError as error:
            self._fail(READ, error)
            if is_away(error):
                return
        try:
            self.send_waiting()
        except RelayError as error:
            self._fail(POST, error)

    def _read(self, reader: Reader) -> None:
        """First of all: what is refused to posts must not keep this process from reading."""
        if not reader.elect():
            if not reader.is_away():  # who reads is another's business
                self._reached(READ)
            return
        self._goes_on = True
        has_to_send = self.waiting and not self.contact.fails(POST)
        if reader.step(0.0 if self._hurry or has_to_send else BLOCK):
            self._reached(READ)
            reader.tell_away(0.0)

    def _reached(self, what: str) -> None:
        if self.contact.succeeded(what) and self.loop.interval:
            self.loop.interval = EVERY

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
            start = (before.place or LAST) if before is not None and was_removed else self._start
            before = self.reader = Reader(
                seat, self.bus.handlers, self.stream, self._host, start, self.counts
            )
        return before

    def _resign(self) -> None:
        reader = self.reader
        if reader is not None and self.bus.state.seat is reader.seat:
            with contextlib.suppress(StdeventsError):  # else the lease runs out
                reader.resign()

    def _fail(self, what: str, error: RelayError) -> None:
        """Try again after a pause; and let another process read, which may get through."""
        self.contact.failed(what, error)
        if what == READ:
            self._goes_on = False
            if self.reader is not None:
                self.reader.tell_away(self.contact.away_since)
            self._resign()
            self.stream.leave()
        if self.loop.interval:
            self.loop.interval = self.contact.next_pause()

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
        self.stream.forked()
        self._begin_here()
        if self.loop.interval:
            self.loop.interval = EVERY
            self._start_loop(PAUSE_AFTER_FORK)


def _size_of_ring(seat: Seat) -> int:
    size: int = seat.table.layout.size
    return size
