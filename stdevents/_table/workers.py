"""Worker slots, and which workers are alive.

A worker holds `flock` on a file of its own, `worker.<slot>`, as long as it lives: whatever it
dies of, the kernel releases that lock. Another worker that finds the file unlocked clears file
and slot. All of this is done under the lock of the bus, so that no process takes another's short
test lock for a live worker.
"""

from __future__ import annotations

import os
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

from .._errors import SegmentError
from .._system.files import NONE, Descriptor
from .layout import (
    HEADER_WORDS,
    ROOM_ID,
    ROOM_POSITION,
    WORKER_PID,
    WORKER_POSITION,
    WORKER_SINCE,
    WORKER_WORDS,
    WORKERS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._system.folder import Folder


class Worker:
    """The slot of this process: its file, locked, and its words in the segment."""

    def __init__(self, folder: Folder, words: memoryview) -> None:
        self.file = NONE
        self._folder = folder
        self._words = words

    def begin(self, pid: int, position: int) -> None:
        """Take a slot, and say in it who this is, and how far it has come; under the lock."""
        words = self._words
        # Posters may rely on all workers being further on.
        words[ROOM_ID] = words[ROOM_POSITION] = 0
        self.slot = self._take_slot()
        self._at = _at(self.slot)
        #: index of the word with the id of the event that was taken last
        self.position_at = self._at + WORKER_POSITION
        words[self.position_at] = position
        words[self._at + WORKER_SINCE] = int(time.time())
        words[self._at + WORKER_PID] = pid

    def _take_slot(self) -> int:
        """The first slot whose file is free; that is locked, and an exception finds it here."""
        for slot in range(WORKERS):
            self.file = Descriptor(self._folder.open_file(_file(slot), create=True))
            if _lock(self._folder, self.file.number):
                return slot
        raise self._folder.error(
            None,
            f"all {WORKERS} worker slots are taken; spread the workers over several buses, "
            "or close the bus in those that do not need it",
        )

    def leave(self) -> None:
        """Give up slot and file; under the lock of the bus."""
        self._words[self._at + WORKER_PID] = 0
        try:
            self._folder.remove_file(_file(self.slot))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Only close the file: in a forked child it is a copy of the parent's."""
        self.file.close()


def live_slots(folder: Folder, words: memoryview | None) -> list[int]:
    """The slots of the live workers. Under the lock.

    Those of dead ones are cleared; not without `words`, since the file that is left shows that the
    slot has to be cleared.
    """
    alive = []
    for file in folder.files():
        prefix, _, number = file.partition(".")
        if not (prefix == "worker" and number.isdigit() and int(number) < WORKERS):
            continue
        slot = int(number)
        if is_live(folder, slot):
            alive.append(slot)
            continue
        if words is not None:
            _clear(folder, words, slot)
    return sorted(alive)


def clear_if_dead(folder: Folder, words: memoryview, slot: int) -> bool:
    """Clear the slot if its worker is dead; was it? Under the lock.

    OSError for a process that cannot look: it may see neither the file nor the folder any more.
    """
    if _is_held(folder, _file(slot)):
        return False
    _clear(folder, words, slot)
    return True


def _clear(folder: Folder, words: memoryview, slot: int) -> None:
    words[_at(slot) + WORKER_PID] = 0
    folder.remove_file(_file(slot))


def is_live(folder: Folder, slot: int) -> bool:
    """Is the worker of this slot alive? Under the lock."""
    try:
        return _is_held(folder, _file(slot))
    except FileNotFoundError:
        return False


def positions(words: memoryview) -> list[tuple[int, int, int]]:
    """Position, pid and slot of each worker that has one, alive or dead. Under the lock."""
    start, end = _at(0), _at(WORKERS)
    pids = words[start + WORKER_PID : end : WORKER_WORDS].tolist()
    taken = words[start + WORKER_POSITION : end : WORKER_WORDS].tolist()
    return [(position, pids[slot], slot) for slot, position in enumerate(taken) if pids[slot]]


def is_where_it_was(words: memoryview, position: int, pid: int, slot: int) -> bool:
    """Does a worker's slot show still what `positions` said?"""
    at = _at(slot)
    return words[at + WORKER_POSITION] == position and words[at + WORKER_PID] == pid


def live_workers(folder: Folder, words: memoryview, last: int) -> list[tuple[int, ...]]:
    """All live workers, by slot: the fields of a `WorkerInfo` of each. Under the lock."""
    workers: list[tuple[int, ...]] = []
    for slot in live_slots(folder, words):
        at = _at(slot)
        position = words[at + WORKER_POSITION]
        pid, since = words[at + WORKER_PID], words[at + WORKER_SINCE]
        if not pid:  # alive, but it has not noticed yet that the bus was created again
            continue
        workers.append((pid, slot, position, max(0, last - position), since))
    return workers


def _at(slot: int) -> int:
    return HEADER_WORDS + slot * WORKER_WORDS


def _file(slot: int) -> str:
    return f"worker.{slot}"


def _is_held(folder: Folder, file: str) -> bool:
    descriptor = folder.open_file(file, create=False)
    if not _lock(folder, descriptor):
        return True
    try:
        # Closing is not enough: a child that another thread is forking has a copy of it.
        flock(descriptor, LOCK_UN)
    except OSError as error:
        raise _cannot_lock(folder, error) from error
    finally:
        os.close(descriptor)
    return False


def _lock(folder: Folder, descriptor: int) -> bool:
    """Lock the file; close it if another process has the lock."""
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return False
        if isinstance(error, OSError):
            raise _cannot_lock(folder, error) from error
        raise
    return True


def _cannot_lock(folder: Folder, error: OSError) -> SegmentError:
    return folder.error(error.errno, f"cannot lock a worker's file: {error.strerror}")
