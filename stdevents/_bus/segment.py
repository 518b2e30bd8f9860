"""Create, join, leave: the life of a segment, and of the folder beside it.

Everything here happens under the lock of the bus, on a lock file that is still in the folder: one
that was unlinked in between excludes nobody, and is opened again.

    no live worker, nothing there     create
    no live worker, something there   stale: what killed workers left; replaced
    live workers                      join, if the memory is sound
    live workers without this lock    it was removed under them: created again, and they will
    or this memory                    join it
    no live worker after us           remove segment, files, folder

An over-eager clean-up may remove all of it under live workers, or their files may be closed under
them. They release the rest, and join again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from zlib import crc32

from .._errors import SegmentError, StdeventsError
from .._system import memory as _memory
from .._system.bell import Bell
from .._system.filelock import Lock, Stranded
from .._system.files import NONE, Descriptor
from .._system.folder import BELL, LOCK, RESTART, Folder
from .._table import workers as _workers
from .._table.layout import (
    HEADER_CHECK,
    HEADER_EPOCH,
    HEADER_LOCK,
    HEADER_MAGIC,
    HEADER_OVERFLOW,
    HEADER_SIZE,
    HEADER_WORDS,
    LAST,
    MAGIC,
    SIGNATURE,
    SMALLEST,
    WORD,
    Layout,
)
from .settings import OVERFLOWS, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator


class Removed(SegmentError):
    """The bus that this process was on is gone from where newcomers look for it."""


class Segment:
    """The shared memory of a bus, mapped; its folder's lock, open; a worker's slot, perhaps."""

    lock: Lock
    bell: Bell
    layout: Layout
    words: memoryview  # header and slots, word by word
    bytes: memoryview  # the same, byte by byte
    ring: memoryview

    def __init__(self, folder: Folder, settings: Settings) -> None:
        self.name = folder.name
        self.settings = settings
        self.folder = folder
        self.bell = Bell()
        self.worker: _workers.Worker | None = None
        self._memory: _memory.Memory | None = None
        self._lock_file = NONE
        self._views: tuple[memoryview, ...] = ()

    def open_lock(self, create: bool) -> None:
        """Open the lock file, as an open file of this process alone."""
        file = Descriptor(self.folder.open_file(LOCK, create))
        self.lock = Lock(self.name, file, self.settings)
        self._lock_file = file

    def has_lock(self) -> bool:
        return self._lock_file.number >= 0

    def has_current_lock(self) -> bool:
        """Is the file that this process locks the one in the folder?"""
        return self.folder.shows(LOCK, self._lock_file.number)

    def lock_inode(self) -> int:
        """The inode of the lock file, which the header of the memory records."""
        return os.fstat(self._lock_file.number).st_ino

    def has_its_files(self) -> bool:
        """Are the files of this process still open, and its own?"""
        worker = self.worker
        if worker is None:  # released already
            return False
        files = (self._lock_file, worker.file, self.bell.file)
        return all(file.is_ours() for file in files)

    def is_intact(self) -> bool:
        """Are files and memory still ours, and still where newcomers look?

        Without the lock or the memory, newcomers would create another bus; without its file the
        worker would be taken for dead; and without the bell newcomers would not wake it.
        """
        worker, memory = self.worker, self._memory
        if worker is None or memory is None:  # another thread has just closed the bus
            return False
        return (
            self._lock_file.is_linked()
            and worker.file.is_linked()
            and self.bell.file.is_linked()
            and memory.is_linked()
        )

    def close_lock(self) -> None:
        """Close the lock file. Never unlocks: in a forked child it is the parent's lock too."""
        if self.has_lock():
            self.lock.forget()
            self._lock_file.close()

    def open_bell(self) -> None:
        """Open the bell, as an open file of this process alone; under the lock."""
        self.bell.close()
        self.bell = Bell(Descriptor(self.folder.open_fifo(BELL)))

    def map(self, memory: _memory.Memory, layout: Layout) -> None:
        """Take the views through which the memory is read and written."""
        self._memory = memory
        self.layout = layout
        self.bytes = memory.buf[: layout.ring_at]
        self.words = self.bytes.cast("Q")
        self.ring = memory.buf[layout.ring_at : layout.total]
        self._views = (self.bytes, self.words, self.ring)

    def forked(self) -> None:
        """Let go of what a forked child has as copies of its parent's: open files, and views.

        A parent's post in whose middle it was forked ends with a ValueError at the old views,
        and stores nothing more.
        """
        assert self._memory is not None
        self.abandon_worker()
        self.bell.abandon()
        self.close_lock()
        self._release_views()
        self.map(self._memory, self.layout)

    def strand(self) -> None:
        """Let go of the files of this process, since some are not its own, or of another bus.

        All threads that want the lock then get Stranded. LockTimeout while another one has it.
        """
        assert self._memory is not None
        try:
            with contextlib.suppress(Stranded):
                self.lock.acquire()
            if not self.has_its_files():
                self._memory.leak()
            self.lock.strand()
        finally:
            self.lock.release()
        self._lock_file.close()
        self.abandon_worker()
        self.bell.close()

    def agree(self) -> None:
        """Have the settings follow what the bus was created with."""
        overflow = OVERFLOWS[self.words[HEADER_OVERFLOW]]
        self.settings.agree(self.name, overflow, self.layout.size)

    def take_worker(self, position: int) -> _workers.Worker:
        """Take a worker's slot for this process, which has come to `position`; under the lock."""
        self.abandon_worker()  # that of a try whose success was never heard of
        self.worker = worker = _workers.Worker(self.folder, self.words)
        try:
            worker.begin(os.getpid(), position)
        except BaseException:
            self.abandon_worker()
            raise
        return worker

    def abandon_worker(self) -> None:
        if self.worker is not None:
            self.worker.abandon()
            self.worker = None

    def close(self) -> None:
        """Unmap the memory and close the files of this process; nothing of others is touched."""
        self._release_views()
        if self._memory is not None:
            if self.has_lock() and not self._lock_file.is_ours():
                self._memory.leak()
            self._memory.close()
            self._memory = None
        self.abandon_worker()
        self.bell.close()
        self.close_lock()

    def _release_views(self) -> None:
        for view in self._views:
            with contextlib.suppress(BufferError):  # in use by another thread
                view.release()
        self._views = ()


def successor(stranded: Segment) -> Segment:
    """What a worker joins after its bus was removed; as the user that it was then."""
    folder = stranded.folder
    if folder.user != os.geteuid():
        raise folder.error(
            errno.EPERM,
            f"it was removed, and this process, now of user {os.geteuid()}, "
            f"cannot create it again for user {folder.user}; restart its workers",
        )
    stranded.settings.take_any_overflow()
    return Segment(folder, stranded.settings)


def join(segment: Segment) -> _workers.Worker:
    """Open the bus as a worker; create it if there is none."""
    settings = segment.settings
    try:
        with _locked(segment, create=True), _undone_if_it_fails(segment):
            memory = _memory_in_use(segment)
            if memory is not None:
                segment.map(*memory)
                segment.agree()
            else:
                _memory.remove(segment.folder)
                segment.map(*_create(segment, settings))
            segment.open_bell()
            return segment.take_worker(segment.words[LAST])
    except BaseException:
        segment.close()
        raise


def attach(name: str) -> Segment:
    """Open the bus `name` to look at it or to post, without a worker's slot.

    FileNotFoundError if no live worker has it open.
    """
    segment = Segment(Folder(name), Settings())
    try:
        with _locked(segment, create=False):
            memory = _memory_in_use(segment)
            if memory is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            segment.map(*memory)
            segment.agree()
            segment.open_bell()
    except BaseException:
        segment.close()
        raise
    return segment


def leave(segment: Segment) -> None:
    """Leave the bus; the last one out removes everything."""
    if not segment.has_lock():  # a forked child that never became a worker
        segment.close()
        return
    try:
        try:
            segment.lock.acquire()
            # A worker that gave up its privileges may not remove files; the others clear up.
            with contextlib.suppress(PermissionError):
                if segment.worker is not None:
                    segment.worker.leave()
                if segment.has_current_lock():
                    _remove_if_last(segment)
        finally:
            segment.lock.release_for_good()
    finally:
        segment.close()


def enrol(segment: Segment, position: int) -> _workers.Worker:
    """Make a process a worker again that released its files, such as a forked child.

    May be tried again. Removed if the bus is not there any more, or another one is.
    """
    segment.close_lock()
    try:
        segment.folder.check()
        segment.open_lock(create=False)
    except FileNotFoundError as error:
        raise _removed(segment) from error
    try:
        segment.lock.acquire()
        if not (segment.has_current_lock() and _has_current_memory(segment)):
            raise _removed(segment)
        segment.open_bell()
        return segment.take_worker(position)
    finally:
        segment.lock.release()


def _removed(segment: Segment) -> Removed:
    return Removed(
        errno.ENOENT, f"bus {segment.name!r}: it was removed while this process was on it"
    )


def clean(name: str) -> bool:
    """Remove what is left of the bus `name` unless a live worker holds it; was it removed?"""
    segment = Segment(Folder(name), Settings())
    try:
        # A process killed between making the folder and its lock left no lock to open.
        with _locked(segment, create=True):
            return _remove_if_last(segment)
    finally:
        segment.close()


def traces(name: str) -> list[str]:
    """What there is of the bus `name`, in use or left behind: its folder, its shared memory."""
    folder = Folder(name)
    found = [folder.path] if os.path.lexists(folder.path) else []
    if _memory.exists(folder.segment_name):
        found.append(f"/{folder.segment_name}")
    return found


@contextlib.contextmanager
def _locked(segment: Segment, create: bool) -> Iterator[None]:
    """Open and take the lock of the bus: the file that the folder shows, not an unlinked one."""
    while True:
        try:
            if create:
                segment.folder.make()
            segment.folder.check()
            segment.open_lock(create)
        except FileNotFoundError:
            if not create:
                raise
            continue  # the last worker removed the folder between two of these lines
        try:
            segment.lock.acquire()
            if segment.has_current_lock():
                yield
                return
        finally:
            segment.lock.release()
        segment.close_lock()


@contextlib.contextmanager
def _undone_if_it_fails(segment: Segment) -> Iterator[None]:
    """Leave nothing half made: if there is no other worker, remove all that is there."""
    try:
        yield
    except BaseException as error:
        segment.abandon_worker()
        with contextlib.suppress(OSError):  # the first error counts
            _remove_if_last(segment)
        if isinstance(error, OSError) and not isinstance(error, StdeventsError):
            raise segment.folder.error(error.errno, f"cannot be opened: {error}") from error
        raise


def _remove_if_last(segment: Segment) -> bool:
    if _workers.live_slots(segment.folder, None):
        return False
    try:
        _memory.remove(segment.folder)
    finally:
        segment.folder.remove()
    return True


# -- shared memory ---------------------------------------------------------------------------------


def _create(segment: Segment, settings: Settings) -> tuple[_memory.Memory, Layout]:
    folder = segment.folder
    layout = Layout(settings.size)
    try:
        memory = _memory.open_memory(folder, layout.total)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or errno.ENOMEM
        what = f"cannot create {layout.total} bytes of shared memory: {error}"
        raise folder.error(number, what) from error
    try:
        _memory.reserve(memory, folder, layout.total)
        with memory.buf[: layout.ring_at].cast("Q") as words:
            for index, value in layout.header().items():
                words[index] = value
            words[HEADER_EPOCH] = secrets.randbits(64)
            words[HEADER_OVERFLOW] = OVERFLOWS.index(settings.overflow)
            words[HEADER_LOCK] = segment.lock_inode()
            words[HEADER_CHECK] = _header_check(words)
            words[HEADER_MAGIC] = MAGIC
    except BaseException:
        memory.close()
        _memory.remove(folder)
        raise
    return memory, layout


def _memory_in_use(segment: Segment) -> tuple[_memory.Memory, Layout] | None:
    """The memory that live workers share under the lock that this process has, if they do."""
    return _current_memory(segment) if _workers.live_slots(segment.folder, None) else None


def _current_memory(segment: Segment) -> tuple[_memory.Memory, Layout] | None:
    """The memory that is written under the lock that this process has, if there is any.

    Memory that was written under another lock file must not be shared: two locks exclude nobody.
    """
    folder = segment.folder
    try:
        memory = _memory.open_memory(folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: there is not one byte in it
        raise folder.error(
            getattr(error, "errno", None) or errno.EINVAL,
            f"has live workers, but its shared memory cannot be opened: {error}; {RESTART}",
        ) from error
    try:
        layout = _checked_layout(folder, memory)
        if _header_word(memory, HEADER_LOCK) == segment.lock_inode():
            return memory, layout
    except BaseException:
        memory.close()
        raise
    memory.close()
    return None


def _has_current_memory(segment: Segment) -> bool:
    """Is the memory that is mapped the one that newcomers join? Under the lock."""
    found = _current_memory(segment)
    if found is None:
        return False
    memory, _ = found
    epoch = _header_word(memory, HEADER_EPOCH)
    memory.close()
    return epoch == segment.words[HEADER_EPOCH]


def _header_check(words: memoryview) -> int:
    return crc32(words[HEADER_EPOCH : HEADER_LOCK + 1])


def _header_word(memory: _memory.Memory, index: int) -> int:
    with memory.buf[: HEADER_WORDS * WORD] as header, header.cast("Q") as words:
        word: int = words[index]
        return word


def _checked_layout(folder: Folder, memory: _memory.Memory) -> Layout:
    """The layout that the header tells of, if owner, version, sizes and length are sound."""

    def damaged(what: str) -> SegmentError:
        return folder.error(errno.EINVAL, f"its shared memory {what}; {RESTART}")

    owner = os.fstat(_memory.descriptor(memory)).st_uid
    if owner != folder.user:
        raise damaged(f"belongs to user {owner}, not to user {folder.user}")
    if memory.size < Layout(SMALLEST).total:
        raise damaged(f"is damaged: it has only {memory.size} bytes")
    with memory.buf[: HEADER_WORDS * WORD].cast("Q") as words:
        magic = words[HEADER_MAGIC]
        if magic >> 8 != SIGNATURE:
            raise damaged(f"is damaged, or none of ours: it begins with {magic:#x}")
        if magic != MAGIC:
            raise damaged(f"has layout version {magic & 0xFF}, this stdevents has {MAGIC & 0xFF}")
        layout = Layout(words[HEADER_SIZE])
        if memory.size < layout.total:
            raise damaged(f"is damaged: it has {memory.size} bytes, and needs {layout.total}")
        for index, value in layout.header().items():
            if words[index] != value:
                raise damaged(f"is damaged: header word {index} is {words[index]}, not {value}")
        if words[HEADER_OVERFLOW] >= len(OVERFLOWS):
            raise damaged(f"is damaged: header word {HEADER_OVERFLOW} is out of range")
        # Without it a damaged HEADER_LOCK would say that the bus was removed in part.
        if words[HEADER_CHECK] != _header_check(words):
            raise damaged("is damaged: the checksum of its header is wrong")
    return layout
