"""Which signals a loop's thread takes: none, but for those of the program while handlers run."""

from __future__ import annotations

# Those of signal make enums of all signals: 50 times slower.
from _signal import SIG_BLOCK, SIG_SETMASK, pthread_sigmask, valid_signals

ALL_SIGNALS = tuple(valid_signals())


class Signals:
    """What the thread that makes this lets through, for a loop's thread while handlers run.

    At other times the kernel must not choose that for a signal that the program blocks in its main
    thread, for a critical section. During handlers it is as any thread of the program: what they
    start inherits what is blocked.
    """

    def __init__(self) -> None:
        self._blocked = pthread_sigmask(SIG_BLOCK, ())

    def unblock(self) -> None:
        """Before handlers."""
        pthread_sigmask(SIG_SETMASK, self._blocked)

    @staticmethod
    def block() -> None:
        """After them."""
        pthread_sigmask(SIG_SETMASK, ALL_SIGNALS)
