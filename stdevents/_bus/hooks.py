"""Forks and the exit: which buses and relays hear of them, and how.

A process forks in three steps; some servers call only the child's:

    before      the loops' threads end
    in parent   they start again
    in child    the parent's files are closed, and a worker of its own takes its seat

Nothing of the program's own is called in these steps, no handler, no log line, no import: other
modules' hooks, which make their locks anew, may not have run yet. And what happens to one bus,
such as an exception from a signal handler, keeps no other from its step.

At the exit every bus is closed, which posts `stopping`. What cuts off the close of one, such as
Ctrl-C, keeps no other from its own.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from multiprocessing import util

from .._errors import StdeventsError
from .._log import report
from .._system import files, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Protocol

    class Participant(Protocol):
        """The life of a bus, or a relay."""

        def before_fork(self) -> None: ...

        def after_fork_in_parent(self) -> None: ...

        def after_fork_in_child(self) -> None: ...

        def close(self) -> object: ...


# Makes uWSGI run the hooks below, those of the child.
UWSGI_HOOKS = "py-call-uwsgi-fork-hooks"

LAST_TO_EXIT = -100  # of the exit handlers of a multiprocessing child

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
    """Close all of them at the exit; called when one opens. StdeventsError where that is over."""
    global _exit_is_watched
    if sys.is_finalizing():  # nobody would close it, and the start of its loop would never end
        raise StdeventsError(
            "the interpreter is shutting down: a bus cannot be opened any more; open it before "
            "that, or in a function that atexit calls"
        )
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
    _each(_present()[::-1], _close)  # a relay before its bus


def _close(participant: Participant) -> None:
    try:
        participant.close()
    except Exception as error:
        report("closing a bus at the exit failed", failure=error)


def _each(participants: list[Participant], step: Callable[[Participant], object]) -> None:
    """Have each do the step, whatever is raised meanwhile; the last of that is raised at the end.

    CPython prints what a hook of a fork, or of the exit, raises, and goes on.
    """
    left = iter(participants)
    raised = None
    while True:
        try:
            for participant in left:
                step(participant)
            break
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


def _before_fork() -> None:
    _each(_present()[::-1], lambda participant: participant.before_fork())


def _after_fork_in_parent() -> None:
    _each(_present(), lambda participant: participant.after_fork_in_parent())


def _after_fork_in_child() -> None:
    process.forked()
    files.close_what_others_were_opening()
    _each(_present(), lambda participant: participant.after_fork_in_child())


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
