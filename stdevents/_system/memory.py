"""The memory of a bus: the only file that knows how shared memory is made.

Not by `SharedMemory`: before Python 3.13 the resource tracker hears of each, and removes it under
its users when a process ends. To keep it from that, its function was replaced for a moment, which
other threads, other copies of this package, and other libraries do as well, at the same moment.
"""

from __future__ import annotations

import _posixshmem
import contextlib
import errno
import os
import sys
from mmap import mmap

from .files import above_standard_streams, allow_owner, never_close
from .folder import Folder, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


PIECE = 1 << 26  # bytes


class Memory:
    """Shared memory of this name: it is created, where a `size` is given, or opened.

    It is never closed but dropped: the last view of it that any thread still has unmaps it.
    """

    buf: Any = None
    _mapping: Any = None
    _inode: tuple[int, int] | None = None

    def __init__(self, name: str, size: int = 0) -> None:
        self._name = name
        create = os.O_CREAT | os.O_EXCL if size else 0
        #: of its descriptor
        self.number: int = _posixshmem.shm_open(f"/{name}", os.O_RDWR | create, 0o600)
        try:
            if size:
                allow_owner(self.number)
                os.ftruncate(self.number, size)
            status = os.fstat(self.number)
            self._inode = status.st_dev, status.st_ino
            self._mapping = mmap(self.number, status.st_size)
            self.buf = memoryview(self._mapping)
        except BaseException:
            self.close()  # not left to __del__, which PyPy calls late
            raise

    def is_linked(self) -> bool:
        """Do newcomers still find it?"""
        if not sys.platform.startswith("linux"):  # macOS has no link count for memory
            return exists(self._name)
        try:
            status = os.fstat(self.number)
        except OSError:  # the descriptor was closed; the memory is still mapped
            return True
        return status.st_nlink > 0 or (status.st_dev, status.st_ino) != self._inode

    def is_ours(self) -> bool:
        """Is its descriptor open, and its own?"""
        try:
            status = os.fstat(self.number)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def close(self) -> None:
        """Close its descriptor, and drop the mapping, which ends with its last view."""
        if self._inode and self.number >= 0 and not self.is_ours():
            # It has a descriptor of its own, which was most likely closed, too.
            never_close(self._mapping)
        elif self.number >= 0:
            os.close(self.number)
        self.number = -1
        self.buf = self._mapping = None

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # it was never opened
            self.close()


def exists(name: str) -> bool:
    """Is there shared memory of this name?"""
    try:
        os.close(_posixshmem.shm_open(f"/{name}", os.O_RDONLY, 0))
    except FileNotFoundError:
        return False
    except PermissionError:
        pass
    return True


def open_memory(folder: Folder, size: int = 0) -> Memory:
    """Create it, with a `size`, or open what is there."""
    with above_standard_streams():
        return Memory(folder.segment_name, size)


def remove(folder: Folder) -> None:
    """Remove the memory of its bus, if there is some; SegmentError."""
    try:
        folder.remove_by(_posixshmem.shm_unlink, f"/{folder.segment_name}")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise folder.error(
            error.errno,
            f"the shared memory /{folder.segment_name} is somebody else's, and in the way; "
            "have its owner remove it, or take another name",
        ) from error


def reserve(memory: Memory, folder: Folder, size: int) -> None:
    """Have all pages now: where there is no room, a later store would kill with SIGBUS."""
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:
        return  # macOS: shared memory is backed by swap there, and fills no file system
    number = memory.number
    try:
        # Looked at first: else it would take all there is before it fails, from all programs.
        room = os.fstatvfs(number)
        if room.f_blocks and room.f_bavail * room.f_frsize < size:  # no blocks: there is no limit
            raise OSError(errno.ENOSPC, f"{room.f_bavail * room.f_frsize} are free")
        # In pieces: a signal ends the call where it is, and it would begin from the start.
        for start in range(0, size, PIECE):
            failure = allocate(number, start, min(PIECE, size - start))
            if failure:  # PyPy returns it, as the C function does
                raise OSError(failure, os.strerror(failure))
    except OSError as error:
        raise folder.error(
            error.errno,
            f"no room in {root()} for {size} bytes: {error.strerror}; "
            "make it larger, or choose a smaller size",
        ) from error
