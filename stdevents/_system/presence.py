"""Who lives: the file of each worker, and its lock.

A worker holds `flock` on a file of its own, `worker.<slot>`, as long as it lives: whatever it dies
of, the kernel releases that lock. All of this is done under the lock of the bus, so that no process
takes another's short test lock for a live worker.
"""

from __future__ import annotations

import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

from .files import opening

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .files import OpenFile
    from .folder import Folder

PREFIX = "worker"


def take(folder: Folder, slots: int, opened: list[Any]) -> tuple[int, OpenFile]:
    """The first slot of so many whose file is free, and that file, locked, the last in `opened`."""
    for slot in range(slots):
        # Before it is locked: whatever comes now, somebody closes it. Else it would be a worker.
        file = folder.open_into(opened, _file(slot), create=True)
        try:
            flock(file.number, LOCK_EX | LOCK_NB)
            return slot, file
        except BlockingIOError:
            file.close()
            opened.pop()
        except OSError as error:
            what = f"cannot lock a worker's file: {error.strerror}"
            raise folder.error(error.errno, what) from error
    raise folder.error(
        None,
        f"all {slots} worker slots are taken; spread the workers over several buses, "
        "or close the bus in those that do not need it",
    )


def leave(folder: Folder, slot: int, file: OpenFile) -> None:
    """Close the file of a worker that leaves, and remove it if nobody else holds it.

    It is not unlocked: a child that was forked just now has a copy, and holds the bus by it.
    """
    is_linked = file.is_linked()
    file.close()
    if is_linked and not lives(folder, slot):
        folder.remove_file(_file(slot))


def remove(folder: Folder, slot: int) -> None:
    """Remove the file of a dead worker."""
    folder.remove_file(_file(slot))


def lives(folder: Folder, slot: int) -> bool:
    """Is the worker of this slot alive? One that this process cannot look at is taken to be."""
    with opening(folder.path_of(_file(slot))):
        return _lives(folder, slot)


def _lives(folder: Folder, slot: int) -> bool:
    try:
        number = folder.open_file(_file(slot), create=False)
    except FileNotFoundError:
        return not os.path.isdir(folder.path)  # out of sight, as after a chroot, is not dead
    except OSError:
        return True
    try:
        # Nested, so that an exception from outside leaves no lock, by which it would live for ever.
        try:
            try:
                flock(number, LOCK_EX | LOCK_NB)
            finally:
                # Closing is not enough: a child that another thread is forking has a copy of it.
                flock(number, LOCK_UN)
        finally:
            os.close(number)
    except OSError:
        return True
    return False


def live_slots(folder: Folder, slots: int) -> tuple[list[int], list[int]]:
    """Of so many slots those of the live workers, and of the dead that have left a file."""
    alive: list[int] = []
    dead: list[int] = []
    for file in folder.files():
        prefix, _, number = file.partition(".")
        if prefix == PREFIX and number.isdigit() and int(number) < slots:
            (alive if lives(folder, int(number)) else dead).append(int(number))
    return sorted(alive), sorted(dead)


def _file(slot: int) -> str:
    return f"{PREFIX}.{slot}"
