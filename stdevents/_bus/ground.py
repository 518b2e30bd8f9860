"""The shared memory of a bus: made anew, or found in use and sound; all under its lock."""

from __future__ import annotations

import errno
import os
import secrets

from .._system import memory as shared
from .._system import presence
from .._system.folder import RESTART, Folder
from .._table import header
from .._table.layout import HEADER_EPOCH, HEADER_LOCK, WORKERS, Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from .._system.files import OpenFile
    from .seat import Resume
    from .settings import Settings

    Ground = Tuple[shared.Memory, Layout]


def create(folder: Folder, settings: Settings, lock_file: OpenFile) -> Ground:
    layout = Layout(settings.size)
    try:
        memory = shared.open_memory(folder, layout.total)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or errno.ENOMEM
        what = f"cannot create {layout.total} bytes of shared memory: {error}"
        raise folder.error(number, what) from error
    try:
        shared.reserve(memory, folder, layout.total)
        epoch, inode = secrets.randbits(64), os.fstat(lock_file.number).st_ino
        with memory.buf[: layout.ring_at].cast("Q") as words:
            header.create(words, layout, epoch, settings.overflow, inode)
    except BaseException:
        memory.close()
        shared.remove(folder)
        raise
    return memory, layout


def in_use(folder: Folder, lock_file: OpenFile, resume: Resume | None = None) -> Ground | None:
    """The memory that is written under this lock, if live workers share it, or if it is resumed.

    Memory that was written under another lock file must not be shared: two locks exclude nobody.
    """
    if resume is None and not presence.live_slots(folder, WORKERS)[0]:
        return None
    try:
        memory = shared.open_memory(folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: there is not one byte in it
        raise folder.error(
            getattr(error, "errno", None) or errno.EINVAL,
            f"has live workers, but its shared memory cannot be opened: {error}; {RESTART}",
        ) from error
    try:
        layout = _checked_layout(folder, memory)
        if header.word(memory.buf, HEADER_LOCK) == os.fstat(lock_file.number).st_ino and (
            resume is None
            or header.word(memory.buf, HEADER_EPOCH) == resume.epoch
            or presence.live_slots(folder, WORKERS)[0]
        ):
            return memory, layout
    except BaseException:
        memory.close()
        raise
    memory.close()
    return None


def _checked_layout(folder: Folder, memory: shared.Memory) -> Layout:
    """The layout that the header tells of, if owner, version, sizes and length are sound."""
    owner = os.fstat(memory.number).st_uid
    try:
        if owner != folder.user:
            raise ValueError(f"belongs to user {owner}, not to user {folder.user}")
        return header.check(memory.buf)
    except ValueError as error:
        raise folder.error(errno.EINVAL, f"its shared memory {error}; {RESTART}") from None
