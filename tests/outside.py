"""Exceptions that come from outside: signals whose handlers raise, several at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGVTALRM, signal.SIGPROF)
SIG_SETMASK = 2  # of Linux


class Late(BaseException):
    """What the handlers of those signals raise."""


def late(number, frame):
    raise Late


@contextlib.contextmanager
def raising():
    """Within this, the handlers of SIGNALS raise."""
    before = {number: signal.signal(number, late) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def come_at_once(count):
    """Have so many of SIGNALS come within one call of C code, when it returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS[:count]:
        os.kill(os.getpid(), number)
    ctypes.CDLL(None).pthread_sigmask(SIG_SETMASK, bytes(128), None)
