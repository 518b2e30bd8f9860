"""A lock between threads that knows its owner, without a gap.

Taking it and writing down by whom is one call of `dict.setdefault`, atomic by the interpreter's
lock or, in free-threaded builds, by the dict's own. So an exception from a signal handler finds
it either free or owned by the thread that it interrupts, which `give` then sets right; with
`threading.Lock` it could fall between taking the lock and knowing so. A signal handler that
interrupted the owner can tell that by `mine`.

Whatever of `threading` is needed is asked for when it is used, not when this is imported: monkey
patching may come in between, and after it a thread is a greenlet.
"""

from __future__ import annotations

import threading
import time

AT_LEAST_EVERY = 0.1  # seconds; a wake-up is missed if an exception fell right before it


class Turn:
    """Owned by one thread at a time; `mine` first, since the owner must not take it again."""

    def __init__(self) -> None:
        #: empty: nobody's
        self.owner: dict[str, int] = {}
        self._conditions: dict[str, threading.Condition] = {}  # one, made by who waits first
        self._waiting = 0

    def mine(self) -> bool:
        """Is the calling thread its owner?"""
        return self.owner.get("thread") == threading.get_ident()

    def try_take(self) -> bool:
        """Take it if it is free; is the calling thread its owner now?"""
        me = threading.get_ident()
        return self.owner.setdefault("thread", me) == me

    def take(self) -> None:
        """Wait until it is free, and take it. To be called inside the `try` of a `give`."""
        while not self.try_take():
            self._await(AT_LEAST_EVERY)

    def wait(self, timeout: float) -> None:
        """Wait until no other thread owns it, at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.owner and not self.mine() and timeout > 0:
            self._await(min(timeout, AT_LEAST_EVERY))
            timeout = deadline - time.monotonic()

    def _await(self, timeout: float) -> None:
        given = self._given()
        with given:
            self._waiting += 1
            if self.owner:
                given.wait(timeout)
            self._waiting -= 1

    def give(self) -> None:
        """Give it away if the calling thread owns it; harmless if not, and to do twice."""
        if self.mine():
            self.owner.pop("thread", None)  # another thread that closes may have forgotten it
            if self._waiting:
                given = self._given()
                with given:
                    given.notify_all()

    def _given(self) -> threading.Condition:
        return self._conditions.setdefault("given", threading.Condition())
