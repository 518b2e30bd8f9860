"""Forks and the exit: which buses and relays hear of them, and how.

A process forks in three steps; some servers call only the child's:

    before      the loops' threads end, and work that is half done is waited for, within bounds
    in parent   they start again
    in child    the parent's files are closed, and a worker of its own begins

At the exit every bus is closed, which posts `stopping`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import warnings
import weakref
from multiprocessing import util

from .._errors import StdeventsError
from .._log import logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Participant(Protocol):
        """A bus or a relay."""

        def _before_fork(self) -> None: ...

        def _after_fork_in_parent(self) -> None: ...

        def _after_fork_in_child(self) -> None: ...

        def close(self) -> None: ...


# Makes uWSGI run the hooks below, those of the child.
UWSGI_HOOKS = "py-call-uwsgi-fork-hooks"

LAST_TO_EXIT = -100  # of the exit handlers of a multiprocessing child

# CPython issue 137109: from 3.13 on the threads of a forking process are counted, for a warning,
# after they were started again. It was mended in later patch releases of 3.13 and 3.14.
COUNTS_LATE = sys.version_info >= (3, 13)


_participants: list[weakref.ref[Participant]] = []
_exit_is_watched = False


def enter(participant: Participant) -> None:
    """Tell `participant` of forks and of the exit as long as it exists.

    Of forks also while it is closed: another thread may be opening or closing it, and the child
    would get a copy of the locks that this thread holds.
    """
    _participants.append(weakref.ref(participant, _participants.remove))


def check_server() -> None:
    """StdeventsError in uWSGI's master, which forks behind Python's back."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or not hasattr(uwsgi, "worker_id") or uwsgi.worker_id():
        return
    if UWSGI_HOOKS not in uwsgi.opt:
        raise StdeventsError(
            "uWSGI forks its workers without telling Python: they would share one worker's slot; "
            f"call configure in uwsgi.post_fork_hook, or start uwsgi with --{UWSGI_HOOKS}"
        )


def _present() -> list[Participant]:
    found = (reference() for reference in list(_participants))
    return [participant for participant in found if participant is not None]


def watch_exit() -> None:
    """Close all of them at the exit; called when the first one opens."""
    global _exit_is_watched
    if _exit_is_watched:
        return
    _exit_is_watched = True
    atexit.register(_close_all)
    # A child of multiprocessing ends without atexit before 3.13, and begins by forgetting the
    # finalizers that it inherited.
    util.register_after_fork(_close_all, _finalize)
    _finalize(_close_all)


def _finalize(_: object) -> None:
    util.Finalize(None, _close_all, exitpriority=LAST_TO_EXIT)


def _close_all() -> None:
    for participant in reversed(_present()):  # a relay before its bus
        try:
            participant.close()
        except Exception:
            logger().exception("closing a bus at the exit failed")


def _before_fork() -> None:
    # Loaded before the fork: a child without its parent's privileges could not load them, and one
    # that is forked during another thread's import would wait for that for ever.
    with contextlib.suppress(ImportError):
        from .. import _types  # noqa: F401
    for participant in reversed(_present()):
        participant._before_fork()
    if COUNTS_LATE:
        _warning.expect()


def _after_fork_in_parent() -> None:
    for participant in _present():
        participant._after_fork_in_parent()
    if COUNTS_LATE:
        _warning.silence()


def _after_fork_in_child() -> None:
    for participant in _present():
        participant._after_fork_in_child()


class _Warning:
    """CPython's warning of threads in a process that forks, where it counts only our own loops.

    It is silenced for this process and until its next fork. Nothing else is hidden: a program that
    forks with threads of its own is warned.
    """

    def __init__(self) -> None:
        self._undeserved = False
        self._filter: Any = None

    def expect(self) -> None:
        """Before a fork: is there any other thread now that the loops have ended?"""
        if self._filter is not None:
            with contextlib.suppress(ValueError):  # the filters were reset
                warnings.filters.remove(self._filter)  # type: ignore[attr-defined]
            self._filter = None
        self._undeserved = _threads() == 1

    def silence(self) -> None:
        """After it, in the parent: have the warning that is coming ignored."""
        if self._undeserved:
            message = rf"This process \(pid={os.getpid()}\) is multi-threaded"
            warnings.filterwarnings("ignore", message, DeprecationWarning)
            self._filter = warnings.filters[0]


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:  # macOS
        return threading.active_count()


_warning = _Warning()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
