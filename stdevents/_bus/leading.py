"""`lead`: which worker leads a task; at most one at any time."""

from __future__ import annotations

import errno

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
    return seat.lock.hold(_take, seat, task)


def _take(seat: Seat, task: str) -> bool:
    # By a file in another folder of that name, as in a chroot, it would lead beside another leader.
    if seat.sees_folder():
        try:
            return seat.leads.take(task)
        except FileNotFoundError:
            pass
    seat.check()  # was it removed since?
    raise seat.folder.error(
        errno.ENOENT,
        f"this process cannot see {seat.folder.path} any more, as after a chroot, and leads no "
        f"task that it did not lead before; call lead({task!r}) before that, or in another worker",
    )
