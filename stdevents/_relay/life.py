"""The life of a relay in one process: its thread, and what forks do to that and to its posts.

The thread is a candidate for the reader of the bus. Whether the bus is open here, and on which
seat, is the bus's own business: each step of the thread is a use of its life.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from .._bus import hooks
from .._bus.loop import PAUSE_AFTER_FORK, Loop
from .._errors import NotConfigured, RelayError, StdeventsError
from .._log import INFO, report
from .._system.clock import monotonic
from .._system.listener import Sleeper
from .._system.process import Mark
from .._system.threadlock import Busy, ThreadLock
from .client import is_away
from .contact import POST, READ, Contact
from .cursor import Overtaken
from .onlooker import Standing
from .posting import Posting, PostOptions
from .reader import LAST, Reader
from .stream import Stream

if TYPE_CHECKING:
    from typing import Sequence

    from .._bus.life import Life
    from .._bus.seat import Seat
    from .._system.signals import Signals
    from .ids import Position

BLOCK = 0.2  # seconds: longest wait for an entry; a fork may have to wait as long for the thread
AT_A_TIME = 0.02  # seconds for which the buffer is sent; about as much is read at a time
EVERY = 0.25  # seconds between two looks whether there is a reader
NOW = 0.0  # of the clock: a deadline that is over


class Pause(Sleeper):
    """Between two looks for a reader; no bell is missed."""

    def is_intact(self) -> bool:
        """There are no files that could be closed."""
        return True


class RelayLife:
    """The life of one relay in this process; for its loop the poller, for forks a participant."""

    burst_pause = 0.0  # the stream has pauses of its own

    def __init__(self, bus: Life, stream: Stream, start: str, options: PostOptions) -> None:
        self.bus = bus
        self.stream = stream
        self._start = start
        self._options = options
        self.loop = Loop(self)
        self._is_closed = False
        self._begin_here()

    def _begin_here(self) -> None:
        """What belongs to one process, and not to its forked children."""
        self._mark = Mark()
        name = self.bus.name
        self.counts: Counter[str] = Counter()
        self.contact = Contact(name, self.stream.name)
        self.posting = Posting(name, self.stream, self._options, self.contact, self.counts)
        self.reader: Reader | None = None
        self._turn = ThreadLock()  # of the thread that takes a step
        self._began = 0.0  # that step, on the clock
        self._goes_on = False  # with another step, at once
        self._is_refused = False  # to read
        self._hurry = False
        self._start_again = False  # the thread, which could not be started

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
        self._hurry = self._is_closed = True
        self.loop.stop(self._longest_step())
        if not self.is_busy():
            self._leave()
        self._resign()
        self.posting.drop()

    def _leave(self) -> None:
        reader = self.reader
        if reader is not None and not self.contact.fails(READ):
            with contextlib.suppress(StdeventsError):  # the next bus of this host begins earlier
                reader.keep_at_end()
        self.stream.leave()

    def _longest_step(self) -> float:
        """Seconds after which a step of the thread takes long, as it waits for Redis."""
        return self.reader.seat.settings.wait_max if self.reader is not None else BLOCK

    def _patience(self) -> float:
        """Seconds for which a fork waits for the thread: none where its step takes long already."""
        elapsed = monotonic() - self._began if self.is_busy() else 0.0
        return max(0.0, self._longest_step() - elapsed)

    def is_reading(self) -> bool:
        """Does this process read the stream for its host?"""
        reader = self.reader
        if reader is None or self.contact.fails(READ):  # for each try it is elected
            return False
        return reader.seat is self.bus.state.seat and reader.reading

    def standing(self) -> Standing:
        """How far the bus of this host is; nowhere if it is closed."""
        try:
            return self.bus.use(lambda seat: self._reader_of(seat).standing())
        except NotConfigured:
            return Standing(None, None, 0, 0)

    def post(self, records: Sequence[bytes]) -> str | None:
        """Post what is encoded, as `Relay.post` and `Relay.post_many`."""
        if not self._mark.word[0]:
            self.after_fork_in_child()
        size = self.bus.use(_size_of_ring)
        if self._is_closed:
            raise NotConfigured("the relay is closed; make another one")
        if self._start_again:
            self._start_loop()
        return self.posting.post(records, size)

    # -- the thread --------------------------------------------------------------------------------

    def poll_in_loop(self, signals: Signals | None) -> bool:
        """One step of the thread: what waits is sent; if this is the reader, some is read."""
        self._goes_on = False
        try:
            self._turn.hold(NOW, self._step)
        except Busy:  # a thread for which a fork has not waited is in it still
            self._turn.free_from_ended_thread()
        return False

    def look_in_loop(self) -> None:
        """Nothing: each step looks."""

    def _step(self) -> None:
        self._began = monotonic()
        try:
            self.bus.use(self._step_on)
        except NotConfigured:  # the bus is closed
            self._goes_on = False
            self._leave()
        except Overtaken as error:
            report("bus %r: %s", self.loop.name, error, level=INFO)
        finally:
            if self._is_closed:  # by somebody who has not waited for this step
                self.stream.leave()

    def _step_on(self, seat: Seat) -> None:
        self._goes_on = False
        self.bus.polling.look(seat)
        # First of all: what is refused to posts must not keep this process from reading.
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
        if not self.contact.away_since:
            self.loop.interval = EVERY

    def _read(self, reader: Reader) -> None:
        if not reader.elect():
            self.stream.leave()  # it may have been deposed
            if reader.is_another_reading():
                self._reached()
            return
        has_to_send = self.posting.waiting and not self.contact.fails(POST)
        has_waited = reader.step(0.0 if self._hurry or has_to_send else BLOCK)
        self._goes_on = True
        if has_waited or not self._is_refused:  # what is refused may be only to wait
            self._reached()
            self._is_refused = False
            reader.tell_away(0.0)

    def _reached(self) -> None:
        self.contact.succeeded(READ)
        if not self.posting.waiting:  # else it is told when that is sent
            self.contact.succeeded(POST)

    def send_waiting(self) -> None:
        """Put on the stream some of what is buffered; RelayError if Redis is away."""
        # Not all of it at once: that may take longer than an election holds, and more may come
        # all the time, while nobody reads.
        until = monotonic() + AT_A_TIME
        while self.posting.waiting and not self._hurry:
            if monotonic() > until:
                self._goes_on = True
                return
            self.posting.send_next()

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
        if before is not None and before.seat is seat:
            return before
        start: str | Position = self._start
        if before is not None and before.seat.progress.worker is not seat.progress.worker:
            before = None  # of a bus that was closed, or of the parent
        if before is not None and before.seat.epoch != seat.epoch:
            start = before.place or LAST
        reader = Reader(
            seat, self.bus.handlers, self.stream, self._options.host, start, self.counts
        )
        if before is not None and before.seat.epoch == seat.epoch:
            reader.succeed(before)
        self.reader = reader
        return reader

    def _resign(self) -> None:
        reader = self.reader
        if reader is not None and self.bus.state.seat is reader.seat:
            with contextlib.suppress(StdeventsError):  # else the lease runs out
                reader.resign()

    def _fail(self, what: str, error: RelayError) -> None:
        """Try again after a pause; and let another process read, which may get through."""
        if self._is_closed:  # as its connections may be
            return
        self.contact.failed(what, error)
        if what == READ:
            self._is_refused = not is_away(error)
            self._goes_on = False
            if self.reader is not None:
                self.reader.tell_away(self.contact.away_since)
            self._resign()
            self.stream.leave()
        self.loop.interval = self.contact.next_pause()

    def start_again(self) -> None:
        """Exceptions from outside have ended its thread."""
        if not self._is_closed:
            self._start_loop(PAUSE_AFTER_FORK)

    def leave(self) -> None:
        """Close it: this process is over, and only its thread would keep it."""
        self.close()

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
        self._hurry = self._is_closed
        if self._is_closed:
            return
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
        if not self._is_closed:
            self.loop.interval = EVERY
            self._start_loop(PAUSE_AFTER_FORK)


def _size_of_ring(seat: Seat) -> int:
    size: int = seat.table.layout.size
    return size
