"""No room, no descriptors, no file locks: configure says so, and leaves nothing."""

from __future__ import annotations

import errno
import sys

import pytest
from programs import run, run_on_small_memory

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)

TRY_TO_OPEN = """
import os, sys
import stdevents

for size in sys.argv[2:]:
    try:
        stdevents.Bus(sys.argv[1], size=size, interval=0).close()
    except stdevents.SegmentError as error:
        assert sys.argv[1] in str(error), error
        print(size, error.errno, os.listdir("/dev/shm"))
    else:
        print(size, "works", os.listdir("/dev/shm"))
"""

TAKEN_FOR = """
import os, sys
import stdevents

allocate, taken = os.posix_fallocate, []

def watched(number, offset, length):
    taken.append(length)
    return allocate(number, offset, length)

os.posix_fallocate = watched
try:
    stdevents.Bus(sys.argv[1], size=sys.argv[2], interval=0).close()
except stdevents.SegmentError as error:
    print(error.errno, "bytes: " in str(error) and " are free; " in str(error), sum(taken))
"""

FILL_UP_AND_POST = """
import os, sys
import stdevents

bus = stdevents.Bus(sys.argv[1], size="64k", interval=0, timeout=1e-9)
try:
    with open("/dev/shm/filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
except OSError as error:
    print(error.errno)
handled = []
bus.register(lambda data, *_: handled.append(data), "test")
for number in range(300):
    bus.post("test", "event", [number, "x" * 1000], unique=number)
    bus.poll()
print(len(handled))
bus.close()
os.unlink("/dev/shm/filler")
print(os.listdir("/dev/shm"))
"""

# -- no room ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["4k", "64k", "512k"])
def test_without_room_configure_fails_and_leaves_nothing(name, room):
    """Not SIGBUS at the first store to a page that cannot be had."""
    printed = run_on_small_memory(f"size={room}", TRY_TO_OPEN, name, "1m", "1g", str(1 << 40))
    assert printed == [f"{size} {errno.ENOSPC} []" for size in ("1m", "1g", 1 << 40)]


def test_what_cannot_fit_takes_no_room_from_others_before_it_fails(name):
    printed = run_on_small_memory("size=200m", TAKEN_FOR, name, "250m")
    assert printed == [f"{errno.ENOSPC} True 0"]


def test_without_room_a_size_that_fits_still_works(name):
    printed = run_on_small_memory("size=512k", TRY_TO_OPEN, name, "1m", "64k", "1m")
    assert printed == [f"1m {errno.ENOSPC} []", "64k works []", f"1m {errno.ENOSPC} []"]


@pytest.mark.parametrize("files", [1, 2, 3, 4, 5])
def test_where_there_is_a_file_too_few_configure_leaves_nothing(name, files):
    """Whichever of folder, lock, memory, bell, worker is the one; the mount itself counts."""
    printed = run_on_small_memory(f"nr_inodes={files}", TRY_TO_OPEN, name, "64k", "64k")
    assert printed == [f"64k {errno.ENOSPC} []"] * 2


def test_where_nothing_can_be_written_configure_fails(name):
    assert run_on_small_memory("ro", TRY_TO_OPEN, name, "64k") == [f"64k {errno.EROFS} []"]


def test_a_bus_that_was_created_has_all_its_pages(name):
    """However full /dev/shm gets later: no SIGBUS at a store."""
    printed = run_on_small_memory("size=512k", FILL_UP_AND_POST, name)
    assert printed == [str(errno.ENOSPC), "300", "[]"]


def test_without_descriptors_configure_fails_until_there_are_enough(name):
    """Whichever of them is the one too many; what that one was for is not left behind then."""
    program = """
import errno, gc, os, resource, sys
import stdevents
from inside import remains_of

stdevents.Bus(sys.argv[1], interval=0).close()  # what is opened once stays open
limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
lowest = os.dup(0)
os.close(lowest)
for free in range(20):
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, most))
    try:
        stdevents.Bus(sys.argv[1], interval=0).close()
        print("works")
    except stdevents.SegmentError as error:
        assert error.errno == errno.EMFILE and sys.argv[1] in str(error), error
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
        assert remains_of(sys.argv[1]) == []
        print("fails")
    gc.collect()  # PyPy unmaps memory no earlier
"""
    results = run(program, name).split()
    assert results == sorted(results)
    assert set(results) == {"fails", "works"}


# -- no such system --------------------------------------------------------------------------------


def test_where_there_are_no_file_locks_the_import_says_so():
    """As on Windows, of which the standard library there has no fcntl."""
    program = """
import sys
import types
sys.modules["fcntl"] = None
try:
    import stdevents
except ImportError as error:
    print(error)
"""
    printed = run(program)
    assert "Windows" in printed
    assert "fcntl" in printed
