"""Exceptions that come from outside: signals whose handlers raise, several at once."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGVTALRM, signal.SIGPROF)
SIG_SETMASK = 2  # of Linux


class Late(BaseException):
    """What the handlers of those signals raise."""


class Raising:
    """Handlers of SIGNALS that raise, as long as it is `on`."""

    on = True

    def __call__(self, number, frame):
        if self.on:
            raise Late

    def ends(self, work):
        """Do it; whether it ends by Late. What comes later than that raises no more."""
        ended = self._ends(work)
        # Of signals that come at once, PyPy hands some over with the next one, or much later.
        signal.raise_signal(SIGNALS[0])
        return ended

    def _ends(self, work):
        try:
            try:
                try:
                    try:
                        work()
                        self.on = False
                        return False
                    except Late:
                        self.on = False
                except Late:
                    self.on = False
            except Late:
                self.on = False
        except Late:
            self.on = False
        return True


@contextlib.contextmanager
def raising():
    """Within this, the handlers of SIGNALS raise, as long as what it gives is `on`."""
    late = Raising()
    before = {number: signal.signal(number, late) for number in SIGNALS}
    told, sys.unraisablehook = sys.unraisablehook, lambda raised: None  # during a finaliser
    try:
        yield late
    finally:
        late.on = False
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler)


def come_at_once(count):
    """Have so many of SIGNALS come within one call of C code, when it returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS[:count]:
        os.kill(os.getpid(), number)
    ctypes.CDLL(None).pthread_sigmask(SIG_SETMASK, bytes(128), None)
