"""Worker slots, and who is alive.

A worker holds `flock` on a file of its own, `worker.<slot>`, as long as it lives: whatever it
dies of, the kernel lets go of that lock. Who finds the file of a slot free clears both. All of
this is done under the lock of the bus, so that nobody takes a look for a life.
"""

from __future__ import annotations

import os
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

from ._descriptor import Descriptor
from ._errors import SegmentError
from ._folder import Folder
from ._layout import (
    HEADER_WORDS,
    ROOM_ID,
    ROOM_POSITION,
    WORKER_PID,
    WORKER_POSITION,
    WORKER_SINCE,
    WORKER_WORDS,
    WORKERS,
)


class Worker:
    """The slot of this process: its file, locked, and its words in the segment."""

    def __init__(self, folder: Folder, words: memoryview, pid: int, position: int) -> None:
        # Posters may reckon with workers that all are further on.
        words[ROOM_ID] = words[ROOM_POSITION] = 0
        self.slot, self.file = _take_slot(folder)
        self._folder = folder
        self._words = words
        self._at = _at(self.slot)
        #: the word of the segment that says which event was taken last
        self.position_at = self._at + WORKER_POSITION
        words[self.position_at] = position
        words[self._at + WORKER_SINCE] = int(time.time())
        words[self._at + WORKER_PID] = pid

    def leave(self) -> None:
        """Give up slot and file; under the lock of the bus."""
        self._words[self._at + WORKER_PID] = 0
        try:
            self._folder.remove_file(_file(self.slot))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file only: in a forked child, where it is a copy of the parent's."""
        self.file.close()


def live_slots(folder: Folder, words: memoryview | None) -> list[int]:
    """The slots of the workers that live. Under the lock.

    Those of dead ones are cleared; without `words` only looked at, since the file is what shows
    that the slot is to be cleared.
    """
    alive = []
    for file in folder.files():
        prefix, _, number = file.partition(".")
        if not (prefix == "worker" and number.isdigit() and int(number) < WORKERS):
            continue
        slot = int(number)
        if _is_held(folder, file):
            alive.append(slot)
            continue
        if words is not None:
            words[_at(slot) + WORKER_PID] = 0
            folder.remove_file(file)
    return sorted(alive)


def is_live(folder: Folder, slot: int) -> bool:
    """Does the worker of this slot live? Under the lock."""
    return _is_held(folder, _file(slot))


def positions(words: memoryview) -> list[tuple[int, int]]:
    """Position and pid of each worker that has a slot, alive or dead. Under the lock."""
    start, end = _at(0), _at(WORKERS)
    pids = words[start + WORKER_PID : end : WORKER_WORDS].tolist()
    taken = words[start + WORKER_POSITION : end : WORKER_WORDS].tolist()
    return [(position, pid) for position, pid in zip(taken, pids) if pid]


def live_workers(folder: Folder, words: memoryview, last: int) -> list[tuple[int, ...]]:
    """All live workers, by slot: the fields of a `WorkerInfo` of each. Under the lock."""
    workers: list[tuple[int, ...]] = []
    for slot in live_slots(folder, words):
        at = _at(slot)
        position = words[at + WORKER_POSITION]
        pid, since = words[at + WORKER_PID], words[at + WORKER_SINCE]
        if not pid:  # it lives, but has not noticed yet that this bus was made anew
            continue
        workers.append((pid, slot, position, max(0, last - position), since))
    return workers


def _at(slot: int) -> int:
    return HEADER_WORDS + slot * WORKER_WORDS


def _file(slot: int) -> str:
    return f"worker.{slot}"


def _take_slot(folder: Folder) -> tuple[int, Descriptor]:
    """The first slot whose file is free, and that file, locked."""
    for slot in range(WORKERS):
        descriptor = folder.open_file(_file(slot), create=True)
        if _lock(folder, descriptor):
            return slot, Descriptor(descriptor)
    raise folder.error(
        None,
        f"all {WORKERS} worker slots are taken; spread the workers over several buses, "
        "or close the bus in those that do not need it",
    )


def _is_held(folder: Folder, file: str) -> bool:
    try:
        descriptor = folder.open_file(file, create=False)
    except FileNotFoundError:
        return False
    if not _lock(folder, descriptor):
        return True
    try:
        # Not left to close: a child that another thread forks just now has a copy of it.
        flock(descriptor, LOCK_UN)
    except OSError as error:
        raise _cannot_lock(folder, error) from error
    finally:
        os.close(descriptor)
    return False


def _lock(folder: Folder, descriptor: int) -> bool:
    """Lock the file for ourselves; close it if somebody else has it."""
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
