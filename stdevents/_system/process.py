"""Which process is this: still the one that made a mark, or a fork of it?

A fork copies all that a process knows of itself, and what C code forks runs no hook that could say
so. The kernel knows: memory with MADV_WIPEONFORK reads as zeros in every child. An emulated one may
only say that it does that (QEMU before 8.1), so Python's hook wipes it as well.
"""

from __future__ import annotations

import mmap
import os
import sys

from .files import LostGround

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Word = Union[memoryview, "_ByPid"]

MADV_WIPEONFORK = 18  # of Linux; the mmap module has no name for it


class Forked(LostGround):
    """This process is a fork of the one that took the seat."""


class Mark:
    """Made by a process for itself; `word[0]` is 1 in that process and 0 in every fork of it."""

    def __init__(self) -> None:
        self.word = _word_here()

    def check(self) -> None:
        """Forked, unless this is the process that made the mark."""
        if not self.word[0]:
            raise Forked(None, f"process {os.getpid()} is a fork of the one that opened the bus")


#: that of all marks which this process made last, whether it was this process or its parent
_word: Word | None = None


def _word_here() -> Word:
    global _word
    word = _word
    if word is None or not word[0]:
        word = _word = _wiped_on_fork() or _ByPid()
    return word


def forked() -> None:
    """Tell the marks, in a forked child, where the kernel has not."""
    if isinstance(_word, memoryview):
        _word[0] = 0


def _wiped_on_fork() -> memoryview | None:
    if not sys.platform.startswith("linux"):
        return None
    page = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(MADV_WIPEONFORK)
    except (OSError, SystemError):  # Linux before 4.14, in the words of CPython, and of PyPy
        return None
    word = memoryview(page).cast("Q")
    word[0] = 1
    return word


class _ByPid:
    """1 in the process that made it, 0 in its forks, at the price of a system call a look."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, index: int) -> int:
        return int(os.getpid() == self._pid)
