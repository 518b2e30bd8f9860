"""The bell: how a post wakes all sleeping workers.

It is a FIFO that all workers have open and none ever drains to empty. Each listener waits for it
with an edge-triggered epoll of its own, so that one byte wakes them all, and each of them once.
When it is rung is the table's protocol (W); a ring that is lost costs an `interval`, no event.
"""

from __future__ import annotations

import contextlib
import os

from .files import OpenFile

FULL = 1 << 16  # bytes, the usual capacity of a FIFO


class Bell:
    """One process's open file of the FIFO. Who rings or closes it keeps other threads out."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file

    def ring(self) -> None:
        """Wake all listeners, in all processes."""
        with contextlib.suppress(OSError):  # a lost wake-up costs no event
            if self.file.is_ours():
                try:
                    os.write(self.file.number, b"!")
                except BlockingIOError:
                    os.read(self.file.number, FULL - 1)
                    os.write(self.file.number, b"!")
