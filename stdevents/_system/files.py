"""An open file of this process, by its number, which other code may close.

Code that makes a daemon closes every descriptor, and the files that are opened next get the same
numbers. So before a number is locked, written to or closed, it is checked to be still ours. And no
file of ours gets the number of a standard stream that was closed: a `print` would go into it.
"""

from __future__ import annotations

import contextlib
import os
import threading

from .._errors import SegmentError
from .clock import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

LARGEST_OFFSET = (1 << 40) - 1  # that every file system has
STANDARD_ERROR = 2
# With O_PATH "/" is opened without the permission to read it, which a sandbox may withhold.
FILLER = os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
DESCRIPTORS = "/dev/fd"  # those of this process, by number


class LostGround(SegmentError):
    """What this process has of the bus cannot be used any more; it has to be opened again."""


class FilesClosed(LostGround):
    """Files of this process were closed, or replaced, by another part of the program."""


def new_offset() -> int:
    """One that no other open file has. Not random: PyPy opens a file for that, which may fail."""
    return monotonic_ns() & LARGEST_OFFSET


class OpenFile:
    """The number of an open file, and a mark by which that file is known again."""

    __slots__ = ("mark", "number")

    def __init__(self, number: int = -1, offset: int | None = None) -> None:
        self.number = number
        #: of a plain file its offset, which nobody else moves and one short call tells
        self.mark: object = None
        if number < 0:  # none
            return
        try:
            # A signal handler may have forked since it was opened: parent and child share the
            # offset, and who comes second must not move it.
            here = os.lseek(number, 0, os.SEEK_CUR)
            self.mark = here or os.lseek(number, offset or new_offset(), os.SEEK_SET)
        except OSError:  # a FIFO or pipe has none
            self.mark = inode(os.fstat(number))

    def is_ours(self) -> bool:
        """Is it open, and the file that it was?"""
        try:
            if isinstance(self.mark, int):
                return os.lseek(self.number, 0, os.SEEK_CUR) == self.mark
            return inode(os.fstat(self.number)) == self.mark
        except OSError:
            return False

    def is_plain(self) -> bool:
        """Was it a plain file when it was opened, not a FIFO or a device?"""
        return isinstance(self.mark, int)

    def links(self) -> int:
        """How many names the file has, 0 where it was removed; -1 where it is not ours.

        Its path is not used: that takes longer, and a process may have lost the privileges for it.
        """
        try:
            status = os.fstat(self.number)
            here = os.lseek(self.number, 0, os.SEEK_CUR) if self.is_plain() else inode(status)
        except OSError:
            return -1
        return status.st_nlink if here == self.mark else -1

    def is_linked(self) -> bool:
        """Is it ours, and has nobody removed the file?"""
        return self.links() > 0

    def close(self) -> None:
        """Close it if it is ours; never unlocks it for a process that has a copy of it."""
        number = self.number
        if self.is_ours():
            os.close(number)
        # Last: an exception from outside before it would leave the file open, and locked, for ever.
        self.number = -1


NONE = OpenFile()


@contextlib.contextmanager
def above_standard_streams(and_one_to_spare: bool = False) -> Iterator[None]:
    """Have all files that are opened meanwhile get numbers above 2; OSError.

    With `and_one_to_spare` there is a number left after that: to clean up takes one.
    """
    fillers: list[int] = []
    try:
        while not fillers or fillers[-1] <= STANDARD_ERROR:
            fillers.append(os.open("/", FILLER))
        if not and_one_to_spare:
            os.close(fillers.pop())
        yield
    finally:
        for number in fillers:
            os.close(number)


def allow_owner(number: int) -> None:
    """Let the owner of a new file, and nobody else, read and write it, whatever the umask is."""
    with contextlib.suppress(OSError):  # it is not new, and of another user
        os.fchmod(number, 0o600)


#: the files that are being opened, and that nobody knows yet: by which thread, path, offset to be
_opening: list[tuple[int, str, int]] = []


@contextlib.contextmanager
def opening(path: str) -> Iterator[int]:
    """Open a plain file, and note it where a forked child finds it, in here; its offset to be.

    Else a child that another thread forks in between would keep a copy of it for ever, and with it
    each lock that the parent takes by it.
    """
    one = threading.get_ident(), path, new_offset()
    _opening.append(one)
    try:
        yield one[2]
    finally:
        _opening.remove(one)


def close_what_others_were_opening() -> None:
    """Close, in a forked child, its copies of what other threads of the parent were opening."""
    mine = threading.get_ident()  # what the forking thread was opening it goes on with
    others = [one for one in _opening if one[0] != mine]
    _opening[:] = [one for one in _opening if one[0] == mine]
    for _, path, offset in others:
        with contextlib.suppress(OSError):  # it was not made yet, or there is no /proc
            file = os.stat(path)
            for number in map(int, os.listdir(DESCRIPTORS)):
                with contextlib.suppress(OSError):
                    # All other open files of it, as a worker's own, have offsets of their own.
                    is_new = os.lseek(number, 0, os.SEEK_CUR) in (0, offset)
                    if is_new and os.path.samestat(file, os.fstat(number)):
                        os.close(number)


_kept: list[object] = []


def never_close(owner: object) -> None:
    """Keep the object for ever: its destructor would close a number that is another file's now."""
    _kept.append(owner)


def inode(status: os.stat_result) -> tuple[int, int]:
    """Which file it is, of all that there are."""
    return status.st_dev, status.st_ino
