"""An open file of this process, by its number, which other code may close.

Code that makes a daemon closes every descriptor, and the files that are opened next get the same
numbers. So before a number is locked, written to or closed, it is checked to be still ours.
"""

from __future__ import annotations

import os
import time

LARGEST_OFFSET = (1 << 40) - 1  # that every file system has


class Descriptor:
    """The number of an open file, and a mark by which that file is known again."""

    __slots__ = ("mark", "number")

    def __init__(self, number: int = -1) -> None:
        self.number = number
        #: of a plain file its offset, which nobody else moves and one short call tells
        self.mark: object = None
        if number < 0:  # none
            return
        # Not random: PyPy opens a file for randomness, which fails where descriptors run out.
        offset = time.monotonic_ns() & LARGEST_OFFSET
        try:
            self.mark = os.lseek(number, offset, os.SEEK_SET)
        except OSError:  # a FIFO or pipe has none
            self.mark = _inode(number)

    def is_ours(self) -> bool:
        """Is it open, and the file that it was?"""
        if self.number < 0:
            return False
        try:
            if isinstance(self.mark, int):
                return os.lseek(self.number, 0, os.SEEK_CUR) == self.mark
            return _inode(self.number) == self.mark
        except OSError:
            return False

    def is_linked(self) -> bool:
        """The same, and has the file not been removed?

        Its path is not used: that takes longer, and a process may have lost the privileges for it.
        """
        try:
            return self.is_ours() and os.fstat(self.number).st_nlink > 0
        except OSError:  # another thread has just closed it
            return False

    def close(self) -> None:
        if self.is_ours():
            os.close(self.number)
        self.number = -1


NONE = Descriptor()

_leaked: list[object] = []


def leak(owner: object) -> None:
    """Leak the object: its destructor would close a number that may be another file's by now."""
    _leaked.append(owner)


def _inode(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_dev, status.st_ino
