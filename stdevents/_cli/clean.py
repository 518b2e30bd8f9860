"""`clean`: removes what killed workers left behind, and never what a live one holds."""

from __future__ import annotations

import os
import stat

from .._bus.settings import check_name
from .._errors import LockTimeout, StdeventsError
from .._system.folder import Folder, root
from .buses import names, remains_of, segments
from .outside import NoSuchBus, remove, unknown
from .terminal import complain, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

HELP = "remove what killed workers left behind"
MORE = "What a live worker has open is left alone. Says of each bus what became of it."
EXAMPLE = "clean"

REMOVED = "removed"
IN_USE = "in use, left alone"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="the bus (default: all of yours)")


def main(name: str | None) -> int:
    """Clean one bus, or all of this user; a line for each that says what became of it."""
    if name is not None:
        if not remains_of(check_name(name)):
            raise NoSuchBus(unknown(name))
        return _clean_all([name])
    buses = names()
    failed = _clean_all(buses)
    lost = remove_lost_segments()
    for path in lost:
        say(f"{path}: {REMOVED}, its bus is gone")
    if not (buses or lost):
        say("nothing there")
    return failed


def _clean_all(buses: list[str]) -> int:
    failed = 0
    for bus in buses:
        try:
            done = REMOVED if remove(bus) else IN_USE
        except LockTimeout:
            done = IN_USE  # by a process that was stopped while holding the lock
        except (StdeventsError, OSError) as error:
            complain(error)
            failed = 1
            continue
        say(f"{bus}: {done}")
    return failed


def remove_lost_segments() -> list[str]:
    """Remove the segments whose folder was removed, where segments can be listed (Linux).

    Workers that still have one open keep their memory, but no other can join them.
    """
    found = _segments()
    # Listed after the segments: a worker that leaves removes its segment before its folder.
    in_order = {Folder(name).segment_name for name in names()}
    removed = []
    for path, inode in found.items():
        if os.path.basename(path) in in_order:
            continue
        try:
            if os.lstat(path).st_ino == inode:
                os.unlink(path)
                removed.append(path)
        except FileNotFoundError:
            pass
    return removed


def _segments() -> dict[str, int]:
    ours = segments()
    found = {}
    with os.scandir(root()) as entries:
        for entry in entries:
            if not ours.fullmatch(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                found[entry.path] = status.st_ino
    return found
