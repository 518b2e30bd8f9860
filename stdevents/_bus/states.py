"""The states of a bus in one process, which `life` moves between."""

from __future__ import annotations

import os

from .._errors import NotConfigured
from .._system.files import NONE
from . import joining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, Tuple

    from .._system.files import OpenFile
    from .._system.folder import Folder
    from .._system.threadlock import ThreadLock
    from .joining import Opened
    from .progress import Progress
    from .seat import Resume, Seat
    from .settings import Settings

    AtHand = Tuple[memoryview, Progress, Deque[Any], Dict[str, int], Seat]


class State:
    """Where a life is; what it has is there only while the bus is open."""

    seat: Seat | None = None
    #: what a poll that finds nothing looks at
    at_hand: AtHand | None = None


class Closed(State):
    """The bus is not open here."""


class Arriving(State):
    """A seat is to be taken. It counts as taken as soon as it is in here, whatever comes then."""

    def __init__(self) -> None:
        #: where a worker goes on that had a seat before; a poster comes from nowhere
        self.resume: Resume | None = None
        #: for a seat that is not there yet
        self.opened: Opened = []
        self.taken: Seat | None = None
        #: the one that was lost, or is the parent's, until its files are closed
        self.before: Seat | None = None
        #: a copy of the parent's worker file, which keeps the bus until a seat is taken
        self.held: OpenFile = NONE

    def let_go(self) -> None:
        """Close what is not used any more, also where this was interrupted."""
        if self.before is not None:
            self.before.close()
            self.before = None
        if self.taken is None:
            joining.close(self.opened)


class Opening(Arriving):
    """A thread is opening it, or was interrupted in that."""


class Open(State):
    """This process is on the bus."""

    seat: Seat

    def __init__(self, seat: Seat, turn: ThreadLock) -> None:
        self.seat = seat
        progress = seat.progress
        # A view of its own: that of the seat is released in a child which a signal handler forks
        # when a poll has this at hand.
        words = seat.words.toreadonly()
        self.at_hand = words, progress, progress.local, turn.owner, seat


class Away(Arriving):
    """This process was on the bus, and goes on from there at its next call, or by its loop.

    It has lost its ground; or is a forked child that has done nothing yet, perhaps since it is to
    exec another program. Such a child has `taken` its seat already.
    """

    def __init__(self, folder: Folder, settings: Settings, resume: Resume | None) -> None:
        super().__init__()
        self.folder = folder
        self.settings = settings
        self.resume = resume

    @classmethod
    def of_child(cls, parent: Open | Away, by_handler: bool) -> Away:
        """The state of a forked child; `by_handler` if a handler of the forking thread forks it."""
        if isinstance(parent, Away):
            away = cls(parent.folder.forked(), parent.settings, parent.resume)
            away.held = parent.held
            away.before = parent.before or parent.taken
        else:
            folder = parent.seat.folder.forked()
            away = cls(folder, parent.seat.settings, parent.seat.resume())
            away.before = parent.seat
        if away.before is not None and away.before.worker_file is not None:
            away.held = away.before.worker_file
        away.settings.forked()
        if away.resume is not None:
            away.resume = away.resume.forked(by_handler)
        return away


class Closing(State):
    """A thread is closing it, or was interrupted in that: another `close` goes on."""

    def __init__(self, leaving: Seat | None) -> None:
        self.leaving = leaving


CLOSED = Closed()


def not_open() -> NotConfigured:
    """The error of a call that needs a seat where there is none."""
    return NotConfigured(
        f"the bus is not open in process {os.getpid()}; call configure(name) first: "
        "each worker does so itself, as in post_fork or in the initializer of a pool"
    )
