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
import time
from functools import partial

from .._errors import SegmentError, StdeventsError
from .._system import memory as shared
from .._system import presence
from .._system.bell import Bell
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
    place: Arriving,
    folder: Folder,
    settings: Settings,
    mark: Mark,
    handlers: Handlers,
    resume: Resume | None = None,
) -> None:
    """Take a seat, as the role in the settings says: `taken` of the place, `opened` before that.

    SegmentError; LockTimeout; nothing is left open or half made then.
    """
    opened = place.opened
    close(opened)  # of a try that was interrupted at its very end
    create = settings.role != "poster"

    def take(lock: FileLock, lock_file: OpenFile) -> None:
        try:
            # Under the lock: from here on it is left in good order, or not there at all.
            place.taken = _take_seat(
                folder, settings, mark, handlers, opened, resume, lock, lock_file
            )
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
        _under_lock(folder, settings, mark, opened, create, take)
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
    folder, settings, opened = Folder(name), Settings(), []  # type: ignore[var-annotated]
    mark = Mark()

    def take(lock: FileLock, lock_file: OpenFile) -> Seat:
        ground = grounds.in_use(folder, lock_file)
        if ground is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return _sit_down(folder, settings, mark, opened, lock, lock_file, ground)

    try:
        return _under_lock(folder, settings, mark, opened, False, take)
    except BaseException:
        close(opened)
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
    folder, opened = Folder(name), []  # type: ignore[var-annotated]

    def remove(lock: FileLock, lock_file: OpenFile) -> bool:
        return _remove_if_last(folder)

    try:
        # A process killed between making the folder and its lock left no lock to open.
        return _under_lock(folder, Settings(), Mark(), opened, True, remove)
    finally:
        close(opened)


def remains_of(name: str) -> list[str]:
    """What there is of the bus `name`, in use or left behind: its folder, its shared memory."""
    folder = Folder(name)
    found = [folder.path] if os.path.lexists(folder.path) else []
    if shared.exists(folder.segment_name):
        found.append(f"/{folder.segment_name}")
    return found


def has_live_worker(seat: Seat) -> bool:
    """Has any worker the bus open that this seat is on? LostGround; LockTimeout."""
    return seat.lock.hold(lambda: bool(presence.live_slots(seat.folder, WORKERS)[0]))


# -- under the lock --------------------------------------------------------------------------------


def _under_lock(
    folder: Folder,
    settings: Settings,
    mark: Mark,
    opened: Opened,
    create: bool,
    work: Callable[[FileLock, OpenFile], T],
) -> T:
    """Do some work under the lock of the bus: the file that the folder shows, not an unlinked one.

    FileNotFoundError where there is no folder, and none is to be created. What it opened is in
    `opened`, also when it fails.
    """
    while True:
        try:
            if create:
                folder.make()
            folder.check()
            # In one line: what is open is known to be so, whatever comes next.
            opened.append(lock_file := OpenFile(folder.open_file(LOCK, create)))
        except FileNotFoundError:
            if not create:
                raise
            continue  # the last worker removed the folder between two of these lines
        if not lock_file.is_plain():  # a FIFO, say: by no fault of this program's other parts
            what = f"{folder.path}/{LOCK} is in the way: it is not a plain file; remove it"
            raise folder.error(errno.EEXIST, what)
        lock = FileLock(folder.name, lock_file, mark, settings)
        done: tuple[T] | None = lock.hold(_if_current, folder, lock, lock_file, work)
        if done is not None:
            return done[0]
        close(opened)


def _if_current(
    folder: Folder, lock: FileLock, lock_file: OpenFile, work: Callable[[FileLock, OpenFile], T]
) -> tuple[T] | None:
    return (work(lock, lock_file),) if folder.shows(LOCK, lock_file.number) else None


def close(opened: Opened, but: int = 0) -> None:
    """Close what was opened for a seat that nobody got, in reverse, but for the first few."""
    while len(opened) > but:
        opened[-1].close()
        del opened[-1]  # after it, and not before: an exception may come in between


def _take_seat(
    folder: Folder,
    settings: Settings,
    mark: Mark,
    handlers: Handlers,
    opened: Opened,
    resume: Resume | None,
    lock: FileLock,
    lock_file: OpenFile,
) -> Seat:
    ground = grounds.in_use(folder, lock_file, resume)
    if ground is None and settings.role == "poster":
        raise folder.error(errno.ENOENT, NOBODY)
    mark.check()
    if ground is None:
        shared.remove(folder)
        ground = grounds.create(folder, settings, lock_file)
    opened.append(ground[0])
    seat = _sit_down(folder, settings, mark, opened, lock, lock_file, ground)
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
            progress.begin(Run(place[0], *place))
            progress.was_removed = True
    mark.check()
    seat.slot, seat.worker_file = presence.take(folder, WORKERS, opened)
    serial, role = workers.next_serial(words), ROLES.index(settings.role)
    seat.progress = progress
    seat.delivery = Delivery(
        table, seat.slot, serial, handlers, progress, settings, mark, settings.role == "worker"
    )
    pid, now = os.getpid(), int(time.time())
    mark.check()
    expects_tasks = handlers.tasks.expected
    workers.begin(words, seat.slot, pid, serial, now, role, progress.position, expects_tasks)
    return seat


def _sit_down(
    folder: Folder,
    settings: Settings,
    mark: Mark,
    opened: Opened,
    lock: FileLock,
    lock_file: OpenFile,
    ground: Ground,
) -> Seat:
    """A seat without a slot."""
    memory, layout = ground
    settings.agree(folder.name, OVERFLOWS[header.word(memory.buf, HEADER_OVERFLOW)])
    opened.append(bell_file := OpenFile(folder.open_fifo(BELL)))
    bell = Bell(bell_file)
    waits, lives = settings.overflow == "wait", partial(presence.lives, folder)
    table = Table(folder.name, memory.buf, layout, lock, bell.ring, lives, waits)
    return Seat(folder, settings, mark, lock, lock_file, bell, memory, table)


def _leave(seat: Seat) -> None:
    try:
        # Not again: once its file is closed, the slot is another worker's.
        if seat.slot is not None and seat.worker_file is not None and seat.worker_file.is_ours():
            workers.end(seat.words, seat.slot)
            presence.leave(seat.folder, seat.slot, seat.worker_file)
        if seat.folder.shows(LOCK, seat.lock_file.number):
            _remove_if_last(seat.folder)
        else:
            seat.folder.remove_if_empty()  # as an interrupted removal leaves it
    except OSError as error:
        # A worker that gave up its privileges may not remove files; the others clear up.
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise


def _clear_dead(folder: Folder, words: memoryview) -> None:
    for slot in presence.live_slots(folder, WORKERS)[1]:
        workers.end(words, slot)
        presence.remove(folder, slot)


def _remove_if_last(folder: Folder) -> bool:
    if presence.live_slots(folder, WORKERS)[0]:
        return False
    try:
        shared.remove(folder)
    except SegmentError:  # only then: after an interruption the next try needs the lock in it
        folder.remove()
        raise
    folder.remove()
    return True
