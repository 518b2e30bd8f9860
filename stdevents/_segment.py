"""Create, join, leave: the life of a segment, and of the folder beside it.

The only file that knows `SharedMemory` and the resource tracker. Everything here happens under
the lock of the bus, on a lock file that is still the one that the folder shows: one that was
unlinked in between locks nothing, and is opened anew.

    nobody alive, nothing there   create
    nobody alive, something there stale: what a killed set left behind; replaced
    somebody alive                join, if it is sound
    somebody alive, but without   the lock or the memory was removed under them: made anew, for
    this lock and memory          all to come to
    nobody alive after us         remove segment, files, folder

All of it may be removed under workers that live, by who cleans up too eagerly; and their files
may be closed under them. They let go of what is left to them, and join anew.
"""

from __future__ import annotations

import _posixshmem
import contextlib
import errno
import os
import secrets
import sys
import threading
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from zlib import crc32

from . import _workers
from ._bell import Bell
from ._descriptor import NONE, Descriptor, forsake
from ._errors import SegmentError, StdeventsError
from ._folder import BELL, LOCK, Folder, root
from ._layout import (
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
from ._lock import Lock, Stranded
from ._settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

OVERFLOWS = ("drop", "wait")


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
        self._memory: _Memory | None = None
        self._lock_file = NONE
        self._views: tuple[memoryview, ...] = ()

    def open_lock(self, create: bool) -> None:
        """Open the lock file, as an open file of this process alone."""
        self._lock_file = Descriptor(self.folder.open_file(LOCK, create))
        self.lock = Lock(self.name, self._lock_file, self.settings)

    def has_lock(self) -> bool:
        """Is the lock file open?"""
        return self._lock_file.number >= 0

    def has_current_lock(self) -> bool:
        """Is the file that this process locks the one that the folder shows?"""
        return self.folder.shows(LOCK, self._lock_file.number)

    def lock_inode(self) -> int:
        """By which the lock file is known to the memory that is written under it."""
        return os.fstat(self._lock_file.number).st_ino

    def has_its_files(self) -> bool:
        """Did nobody close the files of this process under it?"""
        assert self.worker is not None
        files = (self._lock_file, self.worker.file, self.bell.file)
        return all(file.is_ours() for file in files)

    def stands(self) -> bool:
        """Has this process its files, and nobody removed them, or the memory?

        Without the lock or the memory, newcomers would make another bus; without its file the
        worker would be taken for dead; and without the bell nobody new would wake it.
        """
        assert self.worker is not None and self._memory is not None
        return (
            self._lock_file.is_linked()
            and self.worker.file.is_linked()
            and self.bell.file.is_linked()
            and self._memory.is_linked()
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

    def map(self, memory: _Memory, layout: Layout) -> None:
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
                self._memory.forsake()
            self.lock.strand()
        finally:
            self.lock.release()
        self._lock_file.close()
        self.abandon_worker()
        self.bell.close()

    def take_worker(self, position: int) -> _workers.Worker:
        """Take a worker's slot for this process, which has come to `position`; under the lock."""
        self.worker = _workers.Worker(self.folder, self.words, os.getpid(), position)
        return self.worker

    def abandon_worker(self) -> None:
        """Close the worker's file only."""
        if self.worker is not None:
            self.worker.abandon()
            self.worker = None

    def close(self) -> None:
        """Unmap the memory and close the files of this process; nothing of others is touched."""
        self._release_views()
        if self._memory is not None:
            if self.has_lock() and not self._lock_file.is_ours():
                self._memory.forsake()
            with contextlib.suppress(BufferError):  # a thread still has a view
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


def join(name: str, settings: Settings) -> tuple[Segment, _workers.Worker]:
    """Open the bus `name` as a worker; create it if there is none."""
    return _join(Segment(Folder(name), settings))


def join_anew(stranded: Segment) -> tuple[Segment, _workers.Worker]:
    """The same for a worker whose bus was removed; as the user that it was then."""
    folder = stranded.folder
    if folder.user != os.geteuid():
        raise SegmentError(
            errno.EPERM,
            f"bus {folder.name!r}: it was removed, and this process, now of user {os.geteuid()}, "
            f"cannot make it anew for user {folder.user}; start its workers anew",
        )
    stranded.settings.take_any_overflow()
    return _join(Segment(folder, stranded.settings))


def _join(segment: Segment) -> tuple[Segment, _workers.Worker]:
    settings = segment.settings
    try:
        with _locked(segment, create=True), _undone_if_it_fails(segment):
            memory = _memory_in_use(segment)
            if memory is not None:
                segment.map(*memory)
                settings.agree_on_overflow(OVERFLOWS[segment.words[HEADER_OVERFLOW]])
            else:
                _remove_memory(segment.folder)
                segment.map(*_create(segment, settings))
            segment.open_bell()
            return segment, segment.take_worker(segment.words[LAST])
    except BaseException:
        segment.close()
        raise


def attach(name: str, settings: Settings) -> Segment:
    """Open the bus `name` to look at it or to post, without a worker's slot.

    FileNotFoundError if no live worker has it open.
    """
    segment = Segment(Folder(name), settings)
    try:
        with _locked(segment, create=False):
            memory = _memory_in_use(segment)
            if memory is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
            segment.map(*memory)
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
    """Make a worker again of a process that let go of its files, a forked child for one.

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


def clean(name: str, settings: Settings) -> bool:
    """Remove what is left of the bus `name` unless a live worker holds it; was it removed?"""
    segment = Segment(Folder(name), settings)
    try:
        # Whoever was killed between making the folder and the lock in it left none to open.
        with _locked(segment, create=True):
            return _remove_if_last(segment)
    finally:
        segment.close()


def traces(name: str) -> list[str]:
    """What there is of the bus `name`, in use or left behind: its folder, its shared memory."""
    folder = Folder(name)
    found = [folder.path] if os.path.lexists(folder.path) else []
    if _is_memory(folder.segment_name):
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
    """Leave nothing half made: where nobody else is on the bus, all that is there is removed."""
    try:
        yield
    except BaseException as error:
        segment.abandon_worker()
        with contextlib.suppress(OSError):  # the error to be told of is the first one
            _remove_if_last(segment)
        if isinstance(error, OSError) and not isinstance(error, StdeventsError):
            raise SegmentError(
                error.errno, f"bus {segment.name!r}: cannot be opened: {error}"
            ) from error
        raise


def _remove_if_last(segment: Segment) -> bool:
    if _workers.live_slots(segment.folder, None):
        return False
    try:
        _remove_memory(segment.folder)
    finally:
        segment.folder.remove()
    return True


# -- shared memory ---------------------------------------------------------------------------------


def _create(segment: Segment, settings: Settings) -> tuple[_Memory, Layout]:
    folder = segment.folder
    layout = Layout(settings.size)
    try:
        memory = _open_memory(folder, layout.total)
    except (OSError, OverflowError) as error:
        raise SegmentError(
            getattr(error, "errno", None) or errno.ENOMEM,
            f"bus {folder.name!r}: cannot create {layout.total} bytes of shared memory: {error}",
        ) from error
    try:
        _reserve(memory, folder, layout)
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
        _remove_memory(folder)
        raise
    return memory, layout


def _reserve(memory: SharedMemory, folder: Folder, layout: Layout) -> None:
    """Have all pages now: where there is no room, a later store would kill with SIGBUS."""
    allocate = getattr(os, "posix_fallocate", None)
    if allocate is None:
        return  # macOS: shared memory is backed by swap there, and fills no file system
    try:
        number = allocate(_descriptor(memory), 0, layout.total)
        if number:  # PyPy returns it, as the C function does
            raise OSError(number, os.strerror(number))
    except OSError as error:
        raise SegmentError(
            error.errno,
            f"bus {folder.name!r}: no room in {root()} for {layout.total} bytes: "
            f"{error.strerror}; make it larger, or choose a smaller size",
        ) from error


def _attach(folder: Folder) -> tuple[_Memory, Layout]:
    try:
        memory = _open_memory(folder)
    except (OSError, ValueError) as error:  # ValueError: there is not one byte in it
        raise SegmentError(
            getattr(error, "errno", None) or errno.EINVAL,
            f"bus {folder.name!r}: has live workers, but its shared memory cannot be opened: "
            f"{error}; stop its workers, and start them anew",
        ) from error
    try:
        return memory, _checked_layout(folder, memory)
    except BaseException:
        memory.close()
        raise


def _memory_in_use(segment: Segment) -> tuple[_Memory, Layout] | None:
    """The memory that live workers share under the lock that this process has, if they do."""
    return _current_memory(segment) if _workers.live_slots(segment.folder, None) else None


def _current_memory(segment: Segment) -> tuple[_Memory, Layout] | None:
    """The memory that is written under the lock that this process has, if there is any.

    Who removes files may have left memory for which there was another lock: two would exclude
    nobody.
    """
    try:
        memory, layout = _attach(segment.folder)
    except SegmentError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    if _header_word(memory, HEADER_LOCK) == segment.lock_inode():
        return memory, layout
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


def _header_word(memory: _Memory, index: int) -> int:
    with memory.buf[: HEADER_WORDS * WORD] as header, header.cast("Q") as words:
        word: int = words[index]
        return word


def _checked_layout(folder: Folder, memory: SharedMemory) -> Layout:
    """The layout that the header tells of, if owner, version, sizes and length are sound."""

    def damaged(what: str) -> SegmentError:
        return SegmentError(
            errno.EINVAL,
            f"bus {folder.name!r}: its shared memory {what}; "
            "stop all its workers, and start them anew",
        )

    owner = os.fstat(_descriptor(memory)).st_uid
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


class _Memory(SharedMemory):
    """Shared memory that is removed when we say so, and never otherwise."""

    _is_forsaken = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self.close()  # not left to __del__, which on PyPy comes late
            raise
        self._number = _descriptor(self)
        status = os.fstat(self._number)
        self._inode = status.st_dev, status.st_ino

    def is_linked(self) -> bool:
        """Do newcomers find it still?"""
        if not sys.platform.startswith("linux"):  # macOS tells nothing of memory by its number
            return _is_memory(self.name)
        try:
            status = os.fstat(self._number)
        except OSError:  # somebody has closed that; mapped it is all the same
            return True
        return status.st_nlink > 0 or (status.st_dev, status.st_ino) != self._inode

    def forsake(self) -> None:
        """Never close it: its numbers were closed already, and may be other files' by now."""
        self._is_forsaken = True
        forsake(self)

    def close(self) -> None:
        """Unmap it, and close its files."""
        if not self._is_forsaken:
            super().close()

    def unlink(self) -> None:
        """Nothing: the constructor calls this when it fails, even on a segment of others."""

    def __del__(self) -> None:
        with contextlib.suppress(OSError, BufferError):  # BufferError: a thread still has a view
            self.close()


def _descriptor(memory: SharedMemory) -> int:
    descriptor: int = memory._fd  # type: ignore[attr-defined]
    return descriptor


def _is_memory(name: str) -> bool:
    """Is there shared memory of this name?"""
    try:
        os.close(_posixshmem.shm_open(f"/{name}", os.O_RDONLY, 0))
    except FileNotFoundError:
        return False
    except PermissionError:
        pass
    return True


def _open_memory(folder: Folder, size: int = 0) -> _Memory:
    with _untracked(folder.segment_name) as options:
        return _Memory(folder.segment_name, create=size > 0, size=size, **options)


def _remove_memory(folder: Folder) -> None:
    # Not by SharedMemory.unlink: that needs the segment mapped, and an empty one cannot be.
    try:
        _posixshmem.shm_unlink(f"/{folder.segment_name}")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SegmentError(
            error.errno,
            f"bus {folder.name!r}: the shared memory /{folder.segment_name} is somebody else's, "
            "and in the way; have its owner remove it, or take another name",
        ) from error


_swapping = threading.RLock()  # a signal handler may open another bus amid it


def _renew_swapping() -> None:
    global _swapping
    _swapping = threading.RLock()


os.register_at_fork(after_in_child=_renew_swapping)


@contextlib.contextmanager
def _untracked(name: str) -> Iterator[dict[str, Any]]:
    """Keep the segment `name` from the resource tracker, which removes it under its users.

    From 3.13 there is an option for that. Before, the tracker is kept from hearing of it: to
    register and then unregister prints tracebacks where two processes do so at once.
    """
    if sys.version_info >= (3, 13):
        yield {"track": False}
        return
    with _swapping:
        tracker: Any = resource_tracker
        tracked = tracker.register

        def register(path: Any, kind: str) -> None:
            if path.lstrip("/") != name:
                tracked(path, kind)

        tracker.register = register
        try:
            yield {}
        finally:
            tracker.register = tracked
