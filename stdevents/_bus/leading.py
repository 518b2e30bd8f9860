"""`lead`: which worker leads a task; at most one at any time."""

from __future__ import annotations

import errno

from .seat import BusRemoved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .seat import Seat


def lead(seat: Seat, task: str, give_up: bool) -> bool:
    """Does the worker of this seat lead the task, now that it has asked? As `Together.lead`."""
    seat.progress_of_worker()
    seat.mark.check()  # in a fork the files, and their locks, are the parent's
    leads = seat.leads
    if give_up:
        seat.lock.hold(leads.give_up, task)
        return False
    if leads.holds(task):
        return True
    seat.check()
    if seat.settings.role != "worker":
        return False
    try:
        return seat.lock.hold(leads.take, task)
    except FileNotFoundError as error:
        what = f"bus {seat.name!r}: its folder was removed while this process was on it"
        raise BusRemoved(errno.ENOENT, what) from error
