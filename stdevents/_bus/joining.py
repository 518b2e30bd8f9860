"""Create, join, leave: how a process comes to its seat, and what it leaves behind.

Everything here happens under the lock of the bus, on a lock file that is still in the folder: one
that was unlinked in between excludes nobody, and is opened again.

    no live worker, nothing there     create
    no live worker, something there   stale: what killed workers left; replaced
    live workers                      join, if the memory is sound
    live workers without this lock    it was removed under them: created again, and they will
    or this memory                    join it
    a worker that had a seat before   go on where it was, if the memory is that of its bus
    no live worker after us           remove segment, files, folder
"""

from __future__ import annotations

import contextlib
import errno
import os
from functools import partial

from .._errors import SegmentError, StdeventsError
from .._system import memory as shared
from .._system import presence
from .._system.bell import Bell
from .._system.clock import date
from .._system.filelock import FileLock
from .._system.files import OpenFile
from .._system.folder import BELL, LOCK, Folder
from .._system.process import Mark
from .._table import header, workers
from .._table.header import OVERFLOWS
from .._table.layout import HEADER_OVERFLOW, LAST, WORKERS
from .._table.read import Run
from .._table.table import Table
from . import ground as grounds
from .delivery import Delivery
from .progress import Progress
from .seat import Resume, Seat
from .settings import ROLES, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, TypeVar, Union

    from .ground import Ground
    from .handlers import Handlers
    from .states import Arriving

    T = TypeVar("T")

    # What was opened up to now, to be closed if it comes to nothing, or by a forked child.
    Opened = List[Union[OpenFile, shared.Memory]]


NOBODY = "no worker has it open, and a poster has nobody to tell; start one"


def join(
    place: Arriving, folder: Folder, settings: Settings, mark: Mark, handlers: Handlers
) -> Seat:
    """Take a seat, as the role in the settings says: `taken` of the place, `opened` before that.

    SegmentError; LockTimeout; nothing is left open or half made then.
    """
    opened = place.opened
    close(opened)  # of a try that was interrupted at its very end
    arrival = Arrival(folder, settings, mark, opened)

    def take() -> Seat:
        try:
            # Under the lock: from here on it is left in good order, or not there at all.
            place.taken = seat = arrival.take_seat(handlers, place.resume)
            return seat
        except BaseException as error:
            if not mark.word[0]:  # a signal handler has forked this child: all is its parent's
                raise
            place.taken = None
            close(opened, but=1)  # the lock is still needed
            with contextlib.suppress(OSError):  # the first error counts
                _remove_if_last(folder)
            if isinstance(error, OSError) and not isinstance(error, StdeventsError):
                raise folder.error(error.errno, f"cannot be opened: {error}") from error
            raise

    try:
        return arrival.under_lock(take, create=settings.role != "poster")
    except BaseException as error:
        if place.taken is None and mark.word[0]:
            close(opened)
            if not isinstance(error, (StdeventsError, OSError)):
                # It came from outside, perhaps when there was a folder and no lock taken yet.
                with contextlib.suppress(StdeventsError, OSError):
                    clean(folder.name)
        if isinstance(error, FileNotFoundError):  # a poster: there is not even a folder
            raise folder.error(errno.ENOENT, NOBODY) from error
        raise


def visit(name: str) -> Seat:
    """Open the bus `name` to look at it or to post, without a worker's slot.

    FileNotFoundError if no live worker has it open.
    """
    arrival = Arrival(Folder(name), Settings(), Mark(), [])

    def sit_down() -> Seat:
        ground = grounds.in_use(arrival.folder, arrival.lock_file)
        if ground is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return arrival.sit_down(ground)

    try:
        return arrival.under_lock(sit_down, create=False)
    except BaseException:
        close(arrival.opened)
        raise


def leave(seat: Seat) -> None:
    """Leave the bus; the last one out removes everything.

    What an exception from outside interrupts may be done again: the lock's file is closed last.
    """
    if seat.lock_file.number < 0:  # this was interrupted at its very end
        seat.close()
        return
    try:
        seat.lock.hold(_leave, seat)
    except (StdeventsError, OSError):
        seat.close()
        raise
    seat.close()


def clean(name: str) -> bool:
    """Remove what is left of the bus `name` unless a live worker holds it; was it removed?"""
    arrival = Arrival(Folder(name), Settings(), Mark(), [])
    try:
        # A process killed between making the folder and its lock left no lock to open.
        return arrival.under_lock(lambda: _remove_if_last(arrival.folder), create=True)
    finally:
        close(arrival.opened)


def has_live_worker(seat: Seat) -> bool:
    """Has any worker the bus open that this seat is on? LostGround; LockTimeout.

    True where its folder is out of sight.
    """
    return seat.lock.hold(lambda: not seat.sees_folder() or _has_live_worker(seat.folder))


def close(opened: Opened, but: int = 0) -> None:
    """Close what was opened for a seat that nobody got, in reverse, but for the first few."""
    while len(opened) > but:
        opened[-1].close()
        del opened[-1]  # after it, and not before: an exception may come in between


# -- on the way to a seat --------------------------------------------------------------------------


class Arrival:
    """A process that comes to a bus. What it opens is in `opened`, whatever happens then."""

    lock: FileLock
    lock_file: OpenFile

    def __init__(self, folder: Folder, settings: Settings, mark: Mark, opened: Opened) -> None:
        self.folder = folder
        self.opened = opened
        self._settings = settings
        self._mark = mark

    def under_lock(self, work: Callable[[], T], create: bool) -> T:
        """Do some work under the lock of the bus: the file that the folder shows, no unlinked one.

        FileNotFoundError where there is no folder, and none is to be created.
        """
        folder = self.folder
        while True:
            try:
                if create:
                    folder.make()
                folder.check()
                lock_file = folder.open_into(self.opened, LOCK, create)
            except FileNotFoundError:
                if not create:
                    raise
                continue  # the last worker removed the folder between two of these lines
            if not lock_file.is_plain():  # a FIFO, say: by no fault of this program's other parts
                what = f"{folder.path}/{LOCK} is in the way: it is not a plain file; remove it"
                raise folder.error(errno.EEXIST, what)
            self.lock_file = lock_file
            self.lock = FileLock(folder.name, lock_file, self._mark, self._settings)
            done: tuple[T] | None = self.lock.hold(self._if_current, work)
            if done is not None:
                return done[0]
            close(self.opened)

    def _if_current(self, work: Callable[[], T]) -> tuple[T] | None:
        return (work(),) if self.folder.shows(LOCK, self.lock_file.number) else None

    def take_seat(self, handlers: Handlers, resume: Resume | None) -> Seat:
        """A seat on the bus that is there, or on one that is made for it; under the lock."""
        folder, settings, mark = self.folder, self._settings, self._mark
        ground = grounds.in_use(folder, self.lock_file, resume)
        if ground is None and settings.role == "poster":
            raise folder.error(errno.ENOENT, NOBODY)
        mark.check()
        if ground is None:
            shared.remove(folder)
            ground = grounds.create(folder, settings, self.lock_file)
        self.opened.append(ground[0])
        seat = self.sit_down(ground)
        if settings.role == "poster":
            return seat
        words, table = seat.words, seat.table
        _clear_dead(folder, words)
        if resume is None:
            progress = Progress(words[LAST])
        else:
            progress, seat.posted_before = resume.progress, resume.posted
            if resume.epoch != seat.epoch:  # all that is there was posted while it was a worker
                place = table.reader.oldest()
                progress = progress.on_another_bus(Run(place[0], *place))
        if resume is None or resume.epoch != seat.epoch:
            handlers.tasks.clear()
        mark.check()
        workers.end_seats_of(words, progress.serial)  # a forked child may hold its file
        progress.serial = progress.serial or workers.next_serial(words)
        seat.slot, seat.worker_file = presence.take(folder, WORKERS, self.opened)
        seat.progress = progress
        seat.delivery = Delivery(table, seat.slot, handlers, progress, settings, mark)
        pid, now, role = os.getpid(), int(date()), ROLES.index(settings.role)
        # Not POSITION: handlers and tasks of events up to there may run still, of the seat before.
        done = handlers.tasks.done_through(progress.finished)
        mark.check()
        workers.begin(
            words, seat.slot, pid, progress.serial, now, role, progress.position,
            handlers.tasks.expected, progress.joined, done,
        )  # fmt: skip
        return seat

    def sit_down(self, ground: Ground) -> Seat:
        """A seat without a worker's slot; under the lock."""
        memory, layout = ground
        folder, settings = self.folder, self._settings
        settings.agree(folder.name, OVERFLOWS[header.word(memory.buf, HEADER_OVERFLOW)])
        self.opened.append(bell_file := OpenFile(folder.open_fifo(BELL)))
        bell = Bell(bell_file)
        waits, lives = settings.overflow == "wait", partial(_lives, folder, self.lock_file)
        table = Table(folder.name, memory.buf, layout, self.lock, bell.ring, lives, waits)
        return Seat(folder, settings, self._mark, self.lock, self.lock_file, bell, memory, table)


# -- under the lock --------------------------------------------------------------------------------


def _leave(seat: Seat) -> None:
    try:
        # Not again: once its file is closed, the slot is another worker's.
        if seat.slot is not None and seat.worker_file is not None and seat.worker_file.is_ours():
            workers.end(seat.words, seat.slot)
            presence.leave(seat.folder, seat.slot, seat.worker_file)
        if seat.sees_folder():
            _remove_if_last(seat.folder)
        else:
            seat.folder.remove_if_empty()  # as an interrupted removal leaves it
    except OSError as error:
        # A worker that gave up its privileges may not remove files; the others clear up.
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise


def _lives(folder: Folder, lock_file: OpenFile, slot: int) -> bool:
    # In another folder of that name, as in a chroot, no worker of this bus has a file.
    return presence.lives(folder, slot) or not folder.shows(LOCK, lock_file.number)


def _has_live_worker(folder: Folder) -> bool:
    return bool(presence.live_slots(folder, WORKERS)[0])


def _clear_dead(folder: Folder, words: memoryview) -> None:
    for slot in presence.live_slots(folder, WORKERS)[1]:
        workers.end(words, slot)
        presence.remove(folder, slot)


def _remove_if_last(folder: Folder) -> bool:
    if _has_live_worker(folder):
        return False
    try:
        shared.remove(folder)
    except SegmentError:  # only then: after an interruption the next try needs the lock in it
        folder.remove()
        raise
    folder.remove()
    return True
