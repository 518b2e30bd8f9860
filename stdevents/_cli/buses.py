"""Which buses there are, in use or left behind: by their folders, and by their shared memory."""

from __future__ import annotations

import os
import re
import stat

from .._errors import SegmentError
from .._system.folder import PREFIX, Folder, no_root, root, segments_of
from .._system.memory import exists


def names() -> list[str]:
    """The names of this user's buses, by their folders."""
    return names_by_user().get(os.geteuid(), [])


def names_by_user() -> dict[int, list[str]]:
    """The names of all buses, by the id of their user; SegmentError."""
    try:
        found = os.listdir(root())
    except FileNotFoundError as error:
        raise SegmentError(error.errno, no_root()) from error
    buses: dict[int, list[str]] = {}
    for entry in sorted(found):
        prefix, _, rest = entry.partition("-")
        user, _, name = rest.partition("-")
        if prefix == PREFIX and user.isdecimal() and name and _is_folder_of(entry, int(user)):
            buses.setdefault(int(user), []).append(name)
    return buses


def _is_folder_of(entry: str, user: int) -> bool:
    # Other users may take such a name.
    try:
        status = os.lstat(os.path.join(root(), entry))
    except OSError:  # it was removed since it was listed
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == user


def segments() -> re.Pattern[str]:
    """What the names of the shared memory of this user's buses look like."""
    return re.compile(f"{re.escape(segments_of(os.geteuid()))}[-\\w]{{8}}")


def remains_of(name: str) -> list[str]:
    """What there is of the bus `name`, in use or left behind: its folder, its shared memory."""
    folder = Folder(name)
    found = [folder.path] if os.path.lexists(folder.path) else []
    if exists(folder.segment_name):
        found.append(f"/{folder.segment_name}")
    return found
