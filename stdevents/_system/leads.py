"""Who leads a task: `flock` on a file of the task, by an open file of its own.

The kernel frees it, whatever its holder dies of. It is held as long as the open file is, so a
forked child has a copy, and closes that without unlocking it.
"""

from __future__ import annotations

import contextlib
import errno
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from hashlib import blake2b

from .files import FilesClosed, OpenFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .folder import Folder

PREFIX = "lead"


class Leads:
    """The tasks that this process leads, by the files in one folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._held: dict[str, OpenFile] = {}
        #: opened, perhaps locked, and not among those held yet
        self._asked: list[OpenFile] = []
        self._closed = False

    def holds(self, task: str) -> bool:
        """Does this process lead it? Two system calls: the file is ours, and is in the folder."""
        file = self._held.get(task)
        return file is not None and file.is_linked()

    def take(self, task: str) -> bool:
        """Lead it, if nobody does; under the lock of the bus, so that no other thread asks, too.

        SegmentError where the file cannot be opened or locked; FileNotFoundError: no folder;
        FilesClosed where another thread closes all this meanwhile.
        """
        self._let_go()  # of what an exception from outside left in here
        if self.holds(task):
            return True
        self.give_up(task)  # where the file was closed, or removed, under it
        self._folder.check()
        while not self._closed:
            # Known before it is locked: whatever comes now, somebody closes it. Else nobody leads.
            file = self._folder.open_into(self._asked, _file(task), create=True)
            try:
                flock(file.number, LOCK_EX | LOCK_NB)
            except (OSError, ValueError) as error:
                self._let_go()
                if isinstance(error, BlockingIOError):
                    return False
                if self._closed or isinstance(error, ValueError):
                    break
                what = f"cannot lock the file of task {task!r}: {error.strerror}"
                raise self._folder.error(error.errno, what) from error
            if file.is_linked():
                self._held[task] = file
                self._asked.clear()
                if not self._closed:
                    return True
            self._let_go()  # it was removed before it was locked: who asks next makes another one
        self.close(unlock=True)
        what = f"bus {self._folder.name!r}: another thread has closed it"
        raise FilesClosed(errno.EBADF, what)

    def give_up(self, task: str) -> None:
        """Lead it no more; under the lock, else a thread that takes it would lose the new file."""
        file = self._held.get(task)
        if file is not None:
            # Else there would be one of every task that ever was, as long as the bus is there.
            with contextlib.suppress(OSError):  # it may have given up the privileges for it
                if self._folder.shows(_file(task), file.number):
                    self._folder.remove_file(_file(task))
            _release(file)
            self._held.pop(task, None)

    def close(self, unlock: bool) -> None:
        """Close all files; `unlock` them first, but in a forked child: its copies are locks, too.

        Closing alone would leave the lock to a child that was forked just now.
        """
        self._closed = True  # first: a thread that takes one just now closes it itself
        for file in (*self._held.copy().values(), *self._asked.copy()):  # where it is in a `take`
            if unlock:
                _release(file)
            else:
                file.close()
        self._held.clear()
        self._asked.clear()

    def _let_go(self) -> None:
        held = self._held.copy().values()
        for file in self._asked.copy():
            if file not in held:
                _release(file)
        self._asked.clear()


def _release(file: OpenFile) -> None:
    try:
        if file.is_ours():
            flock(file.number, LOCK_UN)
    except (OSError, ValueError):  # another thread has closed it, which unlocks it
        pass
    file.close()


def _file(task: str) -> str:
    # A hash: a task is named by any text, a file is not.
    return f"{PREFIX}.{blake2b(task.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"
