"""Has a thread ended that owns a lock of this process, or with which the process is over?"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

LOOK_EVERY = 0.5  # seconds
MAIN = type(threading.main_thread())  # of the thread that runs the exit handlers when it ends
IS_PYPY = sys.implementation.name == "pypy"
#: threads of ours: a child that a handler forks in one goes on without that, by a loop of its own.
#: Not by a class, whose base gevent replaces when it comes later
of_loops: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def has_ended(ident: int) -> bool:
    """Has the thread of this ident ended? False where nobody knows, as of a greenlet.

    To be asked after the ident was found somewhere: else it may be of a thread begun just now.
    """
    living = _frames()
    # The calling thread is not there if it is a greenlet: its like are unknown then.
    if ident in living or threading.get_ident() not in living:
        return False
    return not (IS_PYPY and _is_known_to_threading(ident))


def is_over() -> bool:
    """Is this process at its end, but for its daemon threads?

    A child that a thread has forked runs no exit handlers: when that thread ends, as by sys.exit,
    the process does, unless another one goes on.
    """
    module: Any = threading
    if not _may_end_unnoticed() or threading.main_thread().is_alive():
        return False
    return all(thread.daemon for thread in module._enumerate())


def until_next_look(seconds: float) -> float:
    """For how long a daemon thread may sleep, `seconds` at most, that would keep such a process."""
    return min(seconds, LOOK_EVERY) if _may_end_unnoticed() else seconds


def _may_end_unnoticed() -> bool:
    main = threading.main_thread()
    return not (isinstance(main, MAIN) or main in of_loops)


def _is_known_to_threading(ident: int) -> bool:
    """Is it, or is it about to begin, as the `threading` module knows?

    In a forked child PyPy forgets each thread that a fork hook has started, as our loop is: it
    lives, and is never among the frames.
    """
    module: Any = threading
    # Not `enumerate`: a signal handler may have interrupted who holds the lock that it takes.
    return any(thread.ident == ident for thread in module._enumerate())


def _frames() -> dict[int, FrameType]:
    """The frames of the threads of this process, by ident."""
    # CPython holds a lock of its own meanwhile. If it collects garbage there, and another thread
    # comes to run that wants this lock, both wait for ever.
    global _collects
    _collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        _go_on_collecting()


_collects = False  # when this look is over


def _go_on_collecting() -> None:
    global _collects
    if _collects:
        gc.enable()
    _collects = False


# Another thread may have forked during a look.
os.register_at_fork(after_in_child=_go_on_collecting)
