"""Where a bus lives: its names, and the folder with the files that are locked.

On Linux the folder is under /dev/shm, and so lives where the segment lives and as long;
elsewhere it is in the folder for temporary files. The user's id is part of both names: buses of
the same name but of different users are separate.
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
from .files import above_standard_streams

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


def _no_root() -> str:
    how = "on Linux: mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
    return f"there is no {root()}, in which the buses live; make it ({how})"


def names() -> list[str]:
    start = f"{PREFIX}-{os.geteuid()}-"
    try:
        found = [name for name in os.listdir(root()) if name.startswith(start)]
    except FileNotFoundError as error:
        raise SegmentError(error.errno, _no_root()) from error
    return sorted(name[len(start) :] for name in found if _is_our_folder(name))


def _is_our_folder(name: str) -> bool:
    # Other users may take such a name, and the segments of some users begin with it.
    try:
        status = os.lstat(os.path.join(root(), name))
    except OSError:  # it was removed since it was listed
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


class Folder:
    """The folder of the bus `name` of the user that this process is now."""

    def __init__(self, name: str) -> None:
        # Kept: a worker that changes its user later stays on its bus.
        self.user = os.geteuid()
        self.name = name
        self.path = os.path.join(root(), f"{PREFIX}-{self.user}-{name}")
        # A hash, since macOS allows 31 characters for this name.
        digest = hashlib.blake2b(name.encode(), digest_size=6).digest()
        short = base64.b32encode(digest).decode().rstrip("=").lower()
        self.segment_name = f"{PREFIX}-{self.user:x}-{short}"

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
            raise self.error(error.errno, _no_root()) from error
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

    def open_file(self, file: str, create: bool) -> int:
        """A new open file of `file`; no link is followed, and exec closes it.

        FileNotFoundError if it is missing, or with `create` if the folder is.
        """
        path = os.path.join(self.path, file)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            with above_standard_streams():
                return os.open(path, flags, 0o600)
        except FileNotFoundError:
            raise
        except OSError as error:
            if create:
                with contextlib.suppress(OSError):  # it is not empty
                    os.rmdir(self.path)
            raise self.error(error.errno, f"cannot open {path}: {error.strerror}") from error

    def open_fifo(self, file: str) -> int:
        """A new open file of the FIFO `file`, which is made if it is missing; never blocks."""
        path = os.path.join(self.path, file)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o600)
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
        path = os.path.join(self.path, file)
        try:
            return os.path.samestat(os.lstat(path), os.fstat(descriptor))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self.error(error.errno, f"cannot look at {path}: {error.strerror}") from error

    def remove_file(self, file: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, file))

    def remove(self) -> None:
        """Remove the folder and all in it, except what a newcomer puts there in the meantime.

        The lock goes last: once it is gone, a newcomer creates everything again.
        """
        for file in sorted(self.files(), key=LOCK.__eq__):
            self.remove_file(file)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folder if there is nothing in it: a newcomer makes it again."""
        try:
            os.rmdir(self.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise

    def error(self, number: int | None, what: str) -> SegmentError:
        """An error of this bus, to be raised."""
        return SegmentError(number, f"bus {self.name!r}: {what}")
