"""A lock between the threads of a process that always knows its owner.

Taking it and storing its owner is one call of `dict.setdefault`, atomic by the interpreter's lock
or, in free-threaded builds, by the dict's own. So an exception from a signal handler finds it
either free or owned by the thread that it interrupts; with `threading.Lock` the exception could
come between taking the lock and knowing so.

A thread that finds itself the owner is either

    inside      a signal handler or finaliser has interrupted the call that took it, whose frame is
                on the stack: what is wanted now has to wait until that call ends
    left over   the call has ended, by so many exceptions that its clean-up was cut off as well: the
                lock is free

`threading` is looked up at each use: after monkey patching, which may follow the import, a thread
is a greenlet.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from collections import deque

from .._errors import StdeventsError
from .._log import report
from .clock import monotonic
from .living import has_ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any, Callable, TypeVar

    T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.0001, 0.01  # seconds
ENDED_EVERY = 0.1  # seconds after which who waits looks whether the owner's thread has ended
FOREVER = float("inf")


class Inside(StdeventsError):
    """This call interrupted another one of its own thread, which has to end first."""


class Busy(StdeventsError, TimeoutError):
    """Another thread has it, and did not release it in time."""


class ThreadLock:
    """Owned by one thread at a time, during `hold`."""

    def __init__(self) -> None:
        #: `{"thread": its ident}`; empty while it is free
        self.owner: dict[str, int] = {}
        #: what signal handlers and finalisers left to the call that they interrupted. It is called
        #: until it returns, and perhaps once more: it knows by itself whether it is done
        self.deferred: deque[Callable[[], object]] = deque()

    def hold(self, deadline: float, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work(*arguments)` while owning it, and then whatever was deferred meanwhile.

        Busy if another thread still owns it at `deadline`, of the clock; Inside if this one does.
        """
        if self.owner and self.is_inside(sys._getframe(1)):
            raise Inside("this call interrupted another one of its thread; call it after that")
        owner, me = self.owner, threading.get_ident()
        # Nested, as in FileLock: another exception from outside, which comes during the clean-up
        # after the first, meets the next handler.
        try:
            try:
                try:
                    try:
                        try:
                            if owner.setdefault("thread", me) != me:
                                self._wait(deadline, me)
                            result = work(*arguments)
                            owner.clear()
                        except BaseException:
                            if owner.get("thread") == me:
                                owner.clear()
                            raise
                    except BaseException:
                        if owner.get("thread") == me:
                            owner.clear()
                        raise
                except BaseException:
                    if owner.get("thread") == me:
                        owner.clear()
                    raise
            except BaseException:
                if owner.get("thread") == me:
                    owner.clear()
                raise
        finally:
            if self.deferred:
                self.run_deferred()
        return result

    def _wait(self, deadline: float, me: int) -> None:
        # Not by a condition: a signal handler may have interrupted who holds the condition's lock.
        pause, look = FIRST_PAUSE, monotonic() + ENDED_EVERY
        while self.owner.setdefault("thread", me) != me:
            now = monotonic()
            if now >= min(look, deadline):
                look = now + ENDED_EVERY
                if self.free_from_ended_thread():
                    continue
            if now >= deadline:
                raise Busy("another thread has it")
            time.sleep(min(pause, deadline - now))
            pause = min(2 * pause, LONGEST_PAUSE)

    def is_inside(self, frame: FrameType | None = None) -> bool:
        """Is the calling thread in a `hold` of this, at or below `frame`, by default anywhere?

        What is left over is freed.
        """
        if self.owner.get("thread") != threading.get_ident():
            return False
        if self.is_held_by(frame or sys._getframe()):
            return True
        self.owner.clear()
        return False

    def is_held_by(self, frame: FrameType) -> bool:
        """Is a `hold` of this on the stack of `frame`?"""
        return is_running(ThreadLock.hold.__code__, self, frame)

    def free_from_ended_thread(self) -> bool:
        """Free it if its owner's thread has ended; had it?"""
        with _looking:  # one of those who wait: another would free what this one has taken by then
            owner = self.owner.get("thread")
            if owner is None or not has_ended(owner):
                return False
            # It may have let go of it before it ended, and others have it. Not by the number, which
            # may be that of a younger thread by now: each `hold` has an object of its own for it.
            if self.owner.get("thread") is not owner:
                return False
            self.owner.clear()
            return True

    def run_deferred(self) -> None:
        """Do what was deferred, unless the calling thread is inside once more."""
        # What is done here takes the lock, and comes here after it: one within the other, as many
        # as there are, until the stack ends.
        if is_running(ThreadLock.run_deferred.__code__, self, sys._getframe(1)):
            return
        while self.deferred:
            try:
                # It stays there: an exception from outside, at any instant, must not lose it.
                todo = self.deferred[0]
            except IndexError:  # another thread did it
                return
            try:
                from_outside = _do(todo)
            except Inside:
                return
            with contextlib.suppress(ValueError):  # another thread did it, too
                self.deferred.remove(todo)
            if from_outside is not None:
                raise from_outside


def _do(todo: Callable[[], object]) -> Exception | None:
    """Do what was deferred, or log why not; what came from outside meanwhile, to be raised."""
    try:
        todo()
        return None
    except Inside:
        raise
    except StdeventsError as error:
        refusal: Exception = error
    except Exception as error:  # its own, or from outside, as a signal handler's?
        try:
            todo()
            return error
        except Inside:  # what was interrupted by it owns the lock still
            raise error from None
        except Exception as once_more:
            refusal = once_more
    report("what a signal handler or finaliser left is dropped: %s", refusal)
    return None


_looking = threading.RLock()  # a signal handler may interrupt who has it


def _renew_looking() -> None:
    global _looking
    _looking = threading.RLock()


os.register_at_fork(after_in_child=_renew_looking)


def is_running(code: CodeType, subject: object, frame: FrameType) -> bool:
    """Is a call of this method of `subject` on the stack of `frame`, or waits in a greenlet?"""
    return _is_below(frame, code, subject) or _is_in_greenlet(code, subject)


def _is_below(frame: FrameType | None, code: CodeType, subject: object) -> bool:
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is subject:
            return True
        frame = frame.f_back
    return False


def _is_in_greenlet(code: CodeType, subject: object) -> bool:
    """Is it in another greenlet of the thread, which is not on the stack while it waits?"""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return False
    return any(
        _is_below(one.gr_frame, code, subject)
        for one in gc.get_objects()
        if issubclass(type(one), greenlet.greenlet)
    )
