"""A lock between threads that knows its owner, without a gap.

Taking it and storing its owner is one call of `dict.setdefault`, atomic by the interpreter's lock
or, in free-threaded builds, by the dict's own. So an exception from a signal handler finds it
either free or owned by the thread that it interrupts, and `give` then releases it; with
`threading.Lock` the exception could come between taking the lock and knowing so. A signal handler
that interrupted the owner sees that by `mine`.

`threading` is looked up at each use: after monkey patching, which may follow the import, a thread
is a greenlet.
"""

from __future__ import annotations

import contextlib
import threading
import time

AT_LEAST_EVERY = 0.1  # seconds; a wake-up is missed if an exception fell right before it


class Turn:
    """Owned by one thread at a time. Ask `mine` first: the owner must not take it again."""

    def __init__(self) -> None:
        #: empty while it is free
        self.owner: dict[str, int] = {}
        self._conditions: dict[
            str, threading.Condition
        ] = {}  # one, made by the first thread that waits
        self._waiting = 0

    def mine(self) -> bool:
        return self.owner.get("thread") == threading.get_ident()

    def try_take(self) -> bool:
        """Take it if it is free; is the calling thread its owner now?"""
        me = threading.get_ident()
        return self.owner.setdefault("thread", me) == me

    def take(self) -> None:
        """Wait until it is free, and take it. Call it inside the `try` of a `give`."""
        while not self.try_take():
            self._await(AT_LEAST_EVERY)

    def wait(self, timeout: float) -> None:
        """Wait until no other thread owns it, at most `timeout` seconds."""
        # Not by the condition: a signal handler may have interrupted its owner, and wait for what
        # the caller holds.
        deadline = time.monotonic() + timeout
        while self.owner and not self.mine() and time.monotonic() < deadline:
            time.sleep(0.001)

    def _await(self, timeout: float) -> None:
        given = self._given()
        with given:
            self._waiting += 1
            if self.owner:
                given.wait(timeout)
            self._waiting -= 1

    def give(self) -> None:
        """Release it if the calling thread owns it; otherwise do nothing."""
        if self.mine():
            self.owner.pop("thread", None)  # another thread that closes may have forgotten it
            if self._waiting:
                given = self._given()
                # IndexError: a signal handler did the same in the middle of it.
                with given, contextlib.suppress(IndexError):
                    given.notify_all()

    def _given(self) -> threading.Condition:
        return self._conditions.setdefault("given", threading.Condition())
