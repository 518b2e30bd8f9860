"""The table of a bus: its lock, and the protocols under it."""

from __future__ import annotations

import contextlib
import time
from functools import partial

from .._errors import NoRoom, StdeventsError
from .._system import fence as _fence
from .._system.clock import monotonic
from .._system.threadlock import Inside
from . import workers as _workers
from .append import Writer
from .claim import Claims
from .layout import (
    AWAITED,
    LAST,
    RINGING,
    ROOM_ID,
    ROOM_POSITION,
    WAITING,
    WORKER_DONE,
    WORKER_POSITION,
)
from .read import Reader, Run
from .room import Room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Collection, List, Sequence, Tuple

    from .._system.filelock import FileLock
    from .append import Companion
    from .layout import Layout

    Concerned = Tuple[int, List[Tuple[int, int, int, int, bool]]]

DEATH_EVERY = 0.1  # seconds after which a post that waits looks again whether its worker lives


class Later:
    """A post that is left to the call which it interrupted; it knows whether it is done."""

    def __init__(self, table: Table, write: Callable[[], int]) -> None:
        self.is_done = False
        self._table = table
        self._write = write

    def __call__(self) -> None:
        """Publish it, if it is not; as `Table.append`, but Inside where that returns 0."""
        if not self.is_done:
            try:
                self._table.lock.hold(self._write_once)
            finally:
                self._table._wake()

    def _write_once(self) -> None:
        if self.is_done:  # by another thread
            return
        words, last = self._table.words, self._table.last
        # P4 tells, whatever comes after it; twice, as another exception may come during that.
        try:
            try:
                self._write()
            finally:
                self.is_done = words[LAST] != last
        finally:
            self.is_done = words[LAST] != last


class Table:
    """Header, slots and ring of one bus, as one process uses them.

    `ring` wakes all sleepers, and raises nothing. `lives` says whether the worker of a slot is
    alive. With `waits` a post overwrites nothing that a live worker has not taken.
    """

    def __init__(
        self,
        name: str,
        memory: memoryview,
        layout: Layout,
        lock: FileLock,
        ring: Callable[[], None],
        lives: Callable[[int], bool],
        waits: bool,
    ) -> None:
        self.name = name
        self.layout = layout
        self.lock = lock
        self.words = words = memory[: layout.ring_at].cast("Q")
        ring_bytes = memory[layout.ring_at : layout.total]
        #: what a forked child releases, so that a call of its parent's that was copied in its
        #: middle stores nothing
        self.views = words, ring_bytes
        self.ring = ring
        self._lives = lives
        self._room = room = Room(name, words, layout, lives)
        self._writer = Writer(name, words, ring_bytes, layout, room if waits else None)
        self.reader = Reader(name, words, ring_bytes, layout)
        self._claims = Claims(words, layout)
        self._hold = lock.hold
        self._write = self._writer.write

    @property
    def last(self) -> int:
        """The id of the last published event, 0 if there was none yet."""
        last: int = self.words[LAST]
        return last

    @property
    def posted(self) -> int:
        """How many events were published by this process, by way of this table."""
        return self._writer.posted

    # -- post --------------------------------------------------------------------------------------

    def append(self, records: Sequence[bytes], companion: Companion | None = None) -> int:
        """Publish records, all of them or none; the last one's id.

        0 if the calling thread was interrupted under the lock: then they are published when that
        call ends. PayloadTooLarge, NoRoom, LockTimeout, SegmentError, or what the companion
        raises: nothing was published then.
        """
        try:
            through = self._hold(self._write, records, companion)
        except StdeventsError as error:
            if not isinstance(error, Inside):
                raise
            self.lock.deferred.append(self.later(records, companion))
            return 0
        except BaseException:
            self._wake()  # it may have come after P4
            raise
        words = self.words
        if words[WAITING] or words[RINGING]:  # W4, after the unlocking: no load passes that
            self._wake()
        return through

    def later(self, records: Sequence[bytes], companion: Companion | None = None) -> Later:
        """What publishes them when it is called; once, however often that is."""
        return Later(self, partial(self._write, records, companion))

    def _wake(self) -> None:
        try:
            self.lock.hold(self._ring_for_sleepers)
        except StdeventsError:  # the event is published, and the next post rings
            pass

    def _ring_for_sleepers(self) -> None:
        words = self.words
        if words[WAITING] or words[RINGING]:  # W4
            # Under the lock: a late end of this would erase another poster's RINGING. Killed in
            # here it leaves RINGING, and the next poster rings.
            words[RINGING] = 1
            words[WAITING] = 0
            self.ring()
            words[RINGING] = 0

    def ring_for_waiters(self) -> None:
        """Wake who waits for what is no event, as that a worker is done, or has lost its ground."""
        # A ring that is lost here costs them little: they look now and then.
        with contextlib.suppress(StdeventsError):
            self.lock.hold_threads(self.ring)

    def append_when_there_is_room(
        self,
        records: Sequence[bytes],
        full: NoRoom,
        busy: int | None,
        tries: int,
        pause: float,
        companion: Companion | None = None,
    ) -> int:
        """Append what was refused by `full`: try again, so many times, each after a pause.

        NoRoom without another try if it would wait for the worker of the slot `busy`. Otherwise
        as `append`; the lock is waited for once, not at each try.
        """
        look = monotonic() + DEATH_EVERY
        for left in reversed(range(tries)):
            if busy in full.slots:
                break
            time.sleep(pause)
            now = monotonic()
            # Without the lock, which many posts that wait would keep from all others.
            if left and now < look and not self._room.has_moved(full):
                continue
            look = now + DEATH_EVERY
            try:
                return self.append(records, companion)
            except NoRoom as still_full:
                full = still_full
        raise full

    def check_room(self, records: Sequence[bytes]) -> None:
        """NoRoom if they would overwrite what a live worker has not taken, whatever `waits` says.

        LockTimeout. Others may post, or join, after it.
        """
        self._hold(self._check_room, len(records), sum(map(len, records)))

    def _check_room(self, number: int, length: int) -> None:
        words, last = self.words, self.words[LAST]
        _, start, _ = self.reader.place(last)
        through, stop = last + number, start + length
        if through > words[ROOM_ID] or stop > words[ROOM_POSITION]:
            self._room.make(last, through, start, stop)

    # -- poll --------------------------------------------------------------------------------------

    def read(self, run: Run) -> Run:
        """What follows a run, where LAST is not the end of it.

        LockTimeout if that is not to be had without the lock; SegmentError for damage that only a
        new bus can mend.
        """
        return self.reader.run(run.through, run.end, run.check) or self._hold(
            self.reader.run_again, run.through, run.end, run.check
        )

    def run_at(self, event_id: int) -> Run:
        """An empty run that ends with the event `event_id`, to read on from there."""
        return Run(event_id, *self.reader.place(event_id))

    def go_back(self, slot: int) -> Run:
        """Have a worker begin with the oldest event there is: the empty run before that."""
        return self._hold(self._go_back, slot)

    def _go_back(self, slot: int) -> Run:
        place = self.reader.oldest()
        # Posters have reckoned with workers that all were further on.
        _workers.posters_forget(self.words)
        first = _workers.at(slot)
        self.words[first + WORKER_POSITION] = self.words[first + WORKER_DONE] = place[0]
        return Run(place[0], *place)

    # -- the rest ----------------------------------------------------------------------------------

    def claim(self, event_id: int, key: str, timeout: float, worker: int) -> tuple[int, int]:
        """Is `worker`, by its mark, the only one to handle the event? How, and by which pid."""
        return self._hold(self._claims.take, event_id, key, timeout, worker)

    def behind(self, event_id: int, ask_who_lives: bool) -> list[int]:
        """The slots of the workers that are not done with a published event; LockTimeout.

        Who is done with it from now on rings. Only with `ask_who_lives` without those that died.
        """
        return self._hold(self._behind, event_id, ask_who_lives)

    def _behind(self, event_id: int, ask_who_lives: bool) -> list[int]:
        words = self.words
        if words[AWAITED] < event_id:
            words[AWAITED] = event_id
            _fence.fence()  # before DONE is read: who stores that, and sleeps, reads AWAITED after
        slots = _workers.behind(words, event_id)
        if ask_who_lives:
            for slot in [slot for slot in slots if not self._lives(slot)]:
                _workers.end(words, slot)
                slots.remove(slot)
        return slots

    def concerned(self, event_id: int, doubted: Collection[int]) -> Concerned:
        """LAST, and the workers that joined before the event, by slot; LockTimeout.

        Of each slot, pid, serial, role, and is it done with the event? It may have died, but for
        those of the slots that are `doubted`.
        """
        return self._hold(self._concerned, event_id, doubted)

    def _concerned(self, event_id: int, doubted: Collection[int]) -> Concerned:
        for slot in doubted:
            if not self._lives(slot):
                _workers.end(self.words, slot)
        return self.last, _workers.concerned(self.words, event_id)

    def workers(self) -> list[tuple[int, int, int, int, int]]:
        """The live workers, by slot: pid, slot, position, lag and since when, of each."""
        return self._hold(self._workers)

    def _workers(self) -> list[tuple[int, int, int, int, int]]:
        last = self.words[LAST]
        return [
            (pid, slot, position, max(0, last - position), since)
            for slot, pid, _, since, _, position, _, _ in _workers.table(self.words)
            if self._lives(slot)
        ]
