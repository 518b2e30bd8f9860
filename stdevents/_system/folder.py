"""Where a bus lives: its names, and the folder with the files that are locked.

On Linux the folder is under /dev/shm, and so lives where the segment lives and as long;
elsewhere it is in the folder for temporary files. The user's id is part of both names: buses of
the same name but of different users are separate. The folder is stdevents-1000-my-app, the segment
stdevents-1000.zgk2x4ab: no folder can have the name of a segment.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import stat
import sys

from .._errors import SegmentError
from .files import OpenFile, above_standard_streams, allow_owner, opening
from .process import Mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

PREFIX = "stdevents"
LOCK = "lock"
BELL = "bell"
RESTART = "stop all its workers, and start them again"


def root() -> str:
    """The folder that holds the folders of all buses."""
    if sys.platform.startswith("linux"):
        return "/dev/shm"
    import tempfile  # 300 KiB in every worker that imports it

    return tempfile.gettempdir()


def no_root() -> str:
    """What to tell where that is missing."""
    how = "on Linux: mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
    return f"there is no {root()}, in which the buses live; make it ({how})"


def segments_of(user: int) -> str:
    """How the names of the shared memory of this user's buses begin."""
    return f"{PREFIX}-{user}."


class Folder:
    """The folder of the bus `name` of the user that this process is now."""

    def __init__(self, name: str) -> None:
        # Kept: a worker that changes its user later stays on its bus.
        self.user = os.geteuid()
        self.name = name
        self.path = os.path.join(root(), f"{PREFIX}-{self.user}-{name}")
        # A hash, since macOS allows 31 characters for this name. Not in base 32: its table, of
        # each two digits, would stay in memory.
        digest = hashlib.blake2b(name.encode(), digest_size=6).digest()
        self.segment_name = segments_of(self.user) + base64.urlsafe_b64encode(digest).decode()
        self._mark = Mark()

    def forked(self) -> Folder:
        """A copy for a forked child, which may remove by that, and not by this one."""
        child = Folder.__new__(Folder)
        vars(child).update(vars(self), _mark=Mark())
        return child

    def make(self) -> None:
        """Make it if it is missing."""
        if self.user != os.geteuid() and not os.path.lexists(self.path):
            raise self.error(
                errno.EPERM,
                f"it was removed, and this process, now of user {os.geteuid()}, "
                f"cannot create it again for user {self.user}; restart its workers",
            )
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            pass
        except FileNotFoundError as error:
            raise self.error(error.errno, no_root()) from error
        except OSError as error:
            raise self.error(error.errno, f"cannot make {self.path}: {error.strerror}") from error

    def check(self) -> None:
        """SegmentError if it is not a folder, not ours, or open to others.

        Any user may put something else in its place; nobody else can put anything into a folder
        that is ours alone. FileNotFoundError if there is nothing.
        """
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            what = f"cannot look at {self.path}: {error.strerror}"
            raise self.error(error.errno, what) from error
        if not stat.S_ISDIR(status.st_mode):
            raise self.error(
                errno.ENOTDIR, f"{self.path} is a link or a file, not a folder; remove it"
            )
        if status.st_uid != self.user:
            raise self.error(
                errno.EPERM,
                f"{self.path} belongs to user {status.st_uid}, not to user {self.user}; "
                "have its owner remove it, or take another name",
            )
        if status.st_mode & 0o077:
            raise self.error(
                errno.EPERM,
                f"{self.path} is open to other users (mode {status.st_mode & 0o777:o}); "
                "chmod it to 700, or remove it",
            )
        if status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            # The umask of its maker took what the owner needs. The umask itself is left alone: it
            # is that of all threads.
            with contextlib.suppress(OSError):  # it may have given up the privileges for it
                os.chmod(self.path, stat.S_IRWXU)

    def path_of(self, file: str) -> str:
        """Where the file is, or would be."""
        return os.path.join(self.path, file)

    def open_into(self, opened: list[Any], file: str, create: bool) -> OpenFile:
        """A new open file of `file`, the last in `opened`; what `open_file` raises."""
        with opening(self.path_of(file)) as offset:
            opened.append(one := OpenFile(self.open_file(file, create), offset))
        return one

    def open_file(self, file: str, create: bool) -> int:
        """A new open file of `file`; no link is followed, and exec closes it.

        FileNotFoundError if it is missing, or with `create` if the folder is.
        """
        path = self.path_of(file)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            # To spare: who cannot look into the folder leaves it behind where a next step fails.
            with above_standard_streams(and_one_to_spare=create and file == LOCK):
                number = os.open(path, flags, 0o600)
        except FileNotFoundError:
            raise
        except OSError as error:
            if create:
                with contextlib.suppress(OSError):  # it is not empty
                    os.rmdir(self.path)
            raise self.error(error.errno, f"cannot open {path}: {error.strerror}") from error
        if create:
            allow_owner(number)
        return number

    def open_fifo(self, file: str) -> int:
        """A new open file of the FIFO `file`, which is made if it is missing; never blocks."""
        path = self.path_of(file)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
                os.chmod(path, 0o600)  # whatever the umask is
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            with above_standard_streams():
                return os.open(path, flags)
        except OSError as error:
            raise self.error(error.errno, f"cannot open {path}: {error.strerror}") from error

    def files(self) -> list[str]:
        try:
            return os.listdir(self.path)
        except OSError as error:
            what = f"cannot look into {self.path}: {error.strerror}"
            raise self.error(error.errno, what) from error

    def shows(self, file: str, descriptor: int) -> bool:
        """Is `descriptor` still the file of that name, not one that was unlinked since?"""
        path = self.path_of(file)
        try:
            return os.path.samestat(os.lstat(path), os.fstat(descriptor))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.EBADF:  # another thread has closed it
                return False
            raise self.error(error.errno, f"cannot look at {path}: {error.strerror}") from error

    def remove_file(self, file: str) -> None:
        """Remove it if it is there; Forked in a child that goes on with a call of its parent's."""
        with contextlib.suppress(FileNotFoundError):
            self.remove_by(os.unlink, self.path_of(file))

    def remove_by(self, remove: Callable[[str], None], path: str) -> None:
        """`remove(path)`; Forked in a child that a signal handler forks under the lock.

        Its parent has that, and what is there when the child comes to this may be another bus.
        """
        # One expression, with no call before the removal: no signal handler can fork in there.
        return remove(path) if self._mark.word[0] else self._mark.check()

    def remove(self) -> None:
        """Remove the folder and all in it, except what a newcomer puts there in the meantime.

        The lock goes last: once it is gone, a newcomer creates everything again.
        """
        for file in sorted(self.files(), key=LOCK.__eq__):
            self.remove_file(file)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folder where nothing is in it; a newcomer makes it anew."""
        try:
            os.rmdir(self.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise

    def error(self, number: int | None, what: str) -> SegmentError:
        """An error of this bus, to be raised."""
        return SegmentError(number, f"bus {self.name!r}: {what}")
