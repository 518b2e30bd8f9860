"""The memory of a bus: the only file that knows `SharedMemory` and the resource tracker."""

from __future__ import annotations

import _posixshmem
import contextlib
import errno
import os
import sys
from functools import partial
from multiprocessing import shared_memory
from multiprocessing.shared_memory import SharedMemory
from types import FunctionType

from . import resource_tracker
from .files import NONE, OpenFile, above_standard_streams, allow_owner, never_close
from .folder import Folder, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


PIECE = 1 << 26  # bytes


def _untracked() -> Callable[..., None]:
    """The constructor of SharedMemory, without the tracker, which removes it under its users.

    Before 3.13, which has an option for that, it runs with another module for the tracker. To
    replace the tracker's function while it runs would be seen by other threads; two of them, of two
    copies of this package, would put back each other's.
    """
    constructor: Any = SharedMemory.__init__
    if sys.version_info >= (3, 13):
        return partial(constructor, track=False)
    # Before 3.10 it imports the tracker each time, from the package that it finds itself in.
    package = __name__.rpartition(".")[0]  # __package__ is not there yet in a zip
    around = {"resource_tracker": resource_tracker, "__package__": package, "__spec__": None}
    code, defaults = constructor.__code__, constructor.__defaults__
    return FunctionType(code, {**vars(shared_memory), **around}, "__init__", defaults)


_construct = _untracked()


class Memory(SharedMemory):
    """Shared memory that only `remove` removes: no tracker, and no failing constructor.

    It is never closed but dropped: the last view of it that any thread still has unmaps it.
    """

    _fd: int
    _mmap: Any
    _file = NONE

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            _construct(self, *arguments, **options)
        except BaseException:
            self.close()  # not left to __del__, which PyPy calls late
            raise
        self._file = OpenFile(self._fd)

    def is_linked(self) -> bool:
        """Do newcomers still find it?"""
        if not sys.platform.startswith("linux"):  # macOS has no link count for memory
            return exists(self.name)
        return self._file.links() != 0  # -1: its descriptor was closed; it is still mapped

    def close(self) -> None:
        """Close its descriptor, and drop the mapping, which ends with its last view."""
        if self._file is NONE:  # the constructor failed, or was interrupted
            self._file = OpenFile(self._fd)
        if self._mmap is not None and not self._file.is_ours():
            # The mapping has a descriptor of its own, which was most likely closed, too.
            never_close(self._mmap)
        self._file.close()
        self._fd = -1
        self._buf = self._mmap = None

    def unlink(self) -> None:
        """Nothing: the constructor calls this when it fails, even on a segment of others."""

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()


def descriptor(memory: Memory) -> int:
    return memory._fd


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
        memory = Memory(folder.segment_name, create=size > 0, size=size)
    if size:
        allow_owner(descriptor(memory))
    return memory


def remove(folder: Folder) -> None:
    # Not by SharedMemory.unlink: that needs the segment mapped, and an empty one cannot be.
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
    number = descriptor(memory)
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
