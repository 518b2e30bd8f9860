"""What a process holds of a bus that it has open: its lock, bell and memory, and a worker's slot.

A seat is whole once it is made, by `joining`. It is never repaired: where a part of it is lost, the
process takes another seat.
"""

from __future__ import annotations

import contextlib
import errno

from .._errors import StdeventsError
from .._log import WARNING, report
from .._system.files import FilesClosed, LostGround
from .._system.folder import LOCK
from .._system.leads import Leads
from .._system.threadlock import Busy
from .._table.layout import HEADER_EPOCH
from .._types import Stats
from . import codec
from .delivery import events
from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from .._system.bell import Bell
    from .._system.filelock import FileLock
    from .._system.files import OpenFile
    from .._system.folder import Folder
    from .._system.memory import Memory
    from .._system.process import Mark
    from .._table.table import Table
    from .delivery import Delivery
    from .settings import Settings


class BusRemoved(LostGround):
    """The bus that this process was on is gone from where newcomers look for it."""


class Resume:
    """Where a worker goes on that had a seat before."""

    def __init__(self, epoch: int, progress: Progress, posted: int) -> None:
        self.epoch = epoch
        self.progress = progress
        self.posted = posted

    def forked(self, by_handler: bool) -> Resume:
        """For a forked child; `by_handler` if the forking thread is in a handler."""
        return Resume(self.epoch, self.progress.forked(by_handler), 0)


class Seat:
    """What one process holds of one bus; a poster's, and a visitor's, has no slot."""

    slot: int | None = None
    worker_file: OpenFile | None = None
    delivery: Delivery | None = None
    #: of a poster, which has none, at a position that LAST never has
    progress = Progress(-1)
    posted_before = 0  # by this process, on the seats that it had before

    def __init__(
        self,
        folder: Folder,
        settings: Settings,
        mark: Mark,
        lock: FileLock,
        lock_file: OpenFile,
        bell: Bell,
        memory: Memory,
        table: Table,
    ) -> None:
        self.folder = folder
        self.name = folder.name
        self.settings = settings
        self.mark = mark
        self.lock = lock
        self.lock_file = lock_file
        self.bell = bell
        self.memory = memory
        self.table = table
        self.words = table.words
        self.leads = Leads(folder)
        self.epoch: int = table.words[HEADER_EPOCH]
        #: when posts and polls are to look whether all this is still there; 0: a loop does
        self.next_look = 0.0
        #: polls that need look at LAST alone, and at no clock. An iterator counts in one step: with
        #: a number, a thread would undo what another one has set
        self.quiet_polls: Iterable[object] = ()
        self.quiet_since = 0.0

    def files(self) -> list[OpenFile]:
        """Its open files, but for the memory's."""
        files = [self.lock_file, self.bell.file]
        return files if self.worker_file is None else [*files, self.worker_file]

    def check(self) -> None:
        """LostGround unless files and memory are still ours, and still where newcomers look.

        Without the lock or the memory, newcomers would create another bus; without its file the
        worker would be taken for dead; and without the bell newcomers would not wake it.
        """
        self.mark.check()
        links = [file.links() for file in self.files()]
        if -1 in links:
            raise FilesClosed(
                errno.EBADF, f"bus {self.name!r}: files of this process were closed under it"
            )
        if 0 in links or not self.memory.is_linked():
            raise BusRemoved(
                errno.ENOENT, f"bus {self.name!r}: it was removed while this process was on it"
            )

    def sees_folder(self) -> bool:
        """Does this process see the folder of its bus? Not after a chroot; under the lock."""
        return self.folder.shows(LOCK, self.lock_file.number)

    def resume(self) -> Resume | None:
        """Where the next seat goes on; None for a poster, which comes from nowhere."""
        if self.slot is None:
            return None
        return Resume(self.epoch, self.progress, self.posted())

    def posted(self) -> int:
        """How many events this process has posted."""
        return self.posted_before + self.table.posted

    def progress_of_worker(self) -> Progress:
        """StdeventsError for a poster."""
        if self.slot is None:
            raise StdeventsError(
                f"bus {self.name!r}: this process is a poster, which only posts; "
                'configure it with role="worker" to handle events'
            )
        return self.progress

    def is_in_handler(self) -> bool:
        """Does a handler run, for an event of the bus?"""
        progress = self.progress
        return progress.finished != progress.position

    def handling(self) -> tuple[str | None, str | None, int | None]:
        """Source, name and id of the event whose handlers run; None for what is not known."""
        progress = self.progress
        if progress.finished == progress.position:
            return None, None, None
        run, event_id = progress.run, progress.position
        if event_id <= run.before:  # what was overwritten before the run
            return events._source, events.lost, event_id
        try:
            # The thread that handles them may have another run by now.
            record = self.table.reader.cut(run)[event_id - run.before - 1] if run.text else None
            _, source, event, *_ = codec.decode(record or b"")
        except (ValueError, IndexError):
            return None, None, event_id
        return source, event, event_id

    def stats(self, handler_errors: int) -> Stats:
        """The counts of this process."""
        progress = self.progress
        position = progress.position  # first, since both only grow: the lag is 0 or more
        last_id: int = self.table.last
        return Stats(
            posted=self.posted(),
            handled=progress.handled,
            unhandled=progress.unhandled,
            lost=progress.lost,
            ignored=progress.ignored,
            handler_errors=handler_errors,
            last_id=last_id,
            lag=0 if self.slot is None else last_id - position,
        )

    def announce(
        self,
        event: str,
        tolerated: tuple[type[Exception], ...] = (StdeventsError, OSError),
    ) -> None:
        """Post it without waiting for room: neither exit nor fork may wait for slow readers."""
        try:
            self.table.append((codec.encode(events._source, event, None),))
        except tolerated as error:
            report("bus %r: %s could not be posted: %s", self.name, event, error, level=WARNING)

    def end(self) -> None:
        """Have a poll end with the handler that it is in."""
        if self.delivery is not None:
            self.delivery.ended = True

    def close(self) -> None:
        """Close its files, and drop the memory, which the last reader unmaps."""
        self.end()
        try:
            self.lock.hold_threads(self._close)
        except Busy:  # a thread that does not end its call; it finds the files closed
            self._close()

    def abandon(self) -> None:
        """Close a forked child's copies of its parent's files.

        A call of the parent's that was forked in its middle ends at the old views, and stores
        nothing more.
        """
        self.end()
        self.lock.abandon()
        for view in self.table.views:
            with contextlib.suppress(BufferError):  # it is being copied from just now
                view.release()
        self._close()

    def _close(self) -> None:
        for file in self.files():
            file.close()
        self.leads.close(unlock=bool(self.mark.word[0]))
        self.memory.close()
