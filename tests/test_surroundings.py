"""Bad surroundings: what lies where a bus belongs, damaged memory, no room; with real files.

While a worker lives, what is wrong is an error that names the bus, and the worker goes on. What
nobody alive holds is stale, and is replaced (G9).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import types

import pytest
from inside import MAGIC, VERSION, WORD, WORKERS, Map, folder_of, memory_file_of, names, word_at
from programs import run, run_on_small_memory, start

import stdevents

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

NOBODY = 65534
SIZE = 1 << 20

# Posts and polls once for each line that it is sent, and says what it has handled so far.
WORKER = """
import contextlib, sys
import stdevents

with contextlib.closing(stdevents.Bus(sys.argv[1], interval=0)) as bus:
    handled = []
    bus.register(lambda data, *_: handled.append(data), "test")
    print("ready", flush=True)
    for line in sys.stdin:
        bus.post("test", "event", line.strip())
        bus.poll()
        print(*handled, flush=True)
"""

# Is alive to all others, and never touches the memory, which may be cut short under it.
HOLDER = """
import fcntl, os, sys

fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""

# Dies, as if killed, with the bus open.
KILLED = """
import os, signal, sys
import stdevents

stdevents.Bus(sys.argv[1], interval=0)
os._exit(0)
"""


@pytest.fixture
def folder(name):
    return folder_of(name)


@pytest.fixture
def memory(name):
    return memory_file_of(name)


@pytest.fixture
def stale(name, folder, memory):
    """The memory of a bus whose workers are all dead; folder and files are there as well."""
    with contextlib.closing(stdevents.Bus(name, interval=0)) as bus:
        bus.post("test", "of the dead")
        with open(memory, "rb") as file:
            content = file.read()
    os.mkdir(folder, 0o700)
    for path in (f"{folder}/lock", f"{folder}/worker.0", memory):
        with open(path, "xb") as file:
            file.write(content if path == memory else b"")
    return memory


@contextlib.contextmanager
def running(program, *arguments):
    """A program that has said that it is ready; it has to end well when its input does."""
    process = start(program, *arguments)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.fixture
def worker(name):
    """Has the worker of another process post, and returns what it has handled so far."""
    with running(WORKER, name) as process:

        def post(what):
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
            return process.stdout.readline().split()

        yield post


def assert_refused(name, number=None):
    """The bus cannot be opened, and the error says which one it is."""
    bus = stdevents.Bus()
    with pytest.raises(stdevents.SegmentError, match=name) as caught:
        bus.configure(name, interval=0)
    assert caught.value.errno == number or number is None
    assert not bus.configured()
    return str(caught.value)


def assert_opens_anew(name):
    """Nothing of what was there counts any more."""
    with contextlib.closing(stdevents.Bus(name, interval=0, start="oldest")) as bus:
        assert bus.stats().last_id == 1
        assert [worker.pid for worker in bus.workers()] == [os.getpid()]
        events = []
        bus.register(lambda data, event, *_: events.append(event))
        bus.post("test", "event")
        bus.poll()
        assert events == ["started", "event"]


def read_word(memory, word):
    with open(memory, "rb") as file:
        file.seek(WORD * word_at(word))
        return int.from_bytes(file.read(WORD), sys.byteorder)


def write_word(memory, word, value):
    with open(memory, "r+b") as file:
        file.seek(WORD * word_at(word))
        file.write(value.to_bytes(WORD, sys.byteorder))


# -- the folder ------------------------------------------------------------------------------------


def test_what_a_bus_is_made_of_is_open_to_its_user_alone(bus, folder, memory):
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(memory).st_mode) == 0o600
    for file in os.listdir(folder):
        assert stat.S_IMODE(os.stat(f"{folder}/{file}").st_mode) == 0o600


@pytest.mark.parametrize("target", ["folder", "missing"])
def test_a_link_in_place_of_the_folder_is_not_followed(name, folder, tmp_path, target):
    there = tmp_path / target
    if target == "folder":
        there.mkdir(mode=0o700)
    os.symlink(there, folder)
    try:
        assert folder in assert_refused(name, errno.ENOTDIR)
        assert target == "missing" or os.listdir(there) == []
        assert there.exists() == (target == "folder")
    finally:
        os.unlink(folder)
    assert_opens_anew(name)


def test_a_file_in_place_of_the_folder_is_refused(name, folder):
    with open(folder, "x") as file:
        file.write("of somebody")
    try:
        assert folder in assert_refused(name, errno.ENOTDIR)
        with open(folder) as file:
            assert file.read() == "of somebody"
    finally:
        os.unlink(folder)
    assert_opens_anew(name)


@needs_root
def test_a_folder_of_another_user_is_refused(name, folder):
    os.mkdir(folder, 0o700)
    try:
        os.chown(folder, NOBODY, -1)
        assert str(NOBODY) in assert_refused(name, errno.EPERM)
        assert os.listdir(folder) == []
    finally:
        os.rmdir(folder)
    assert_opens_anew(name)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o1777], ids=oct)
def test_a_folder_that_is_open_to_others_is_refused(name, folder, mode):
    os.mkdir(folder)
    try:
        os.chmod(folder, mode)
        assert "700" in assert_refused(name, errno.EPERM)
        assert os.listdir(folder) == []
    finally:
        os.rmdir(folder)
    assert_opens_anew(name)


@pytest.mark.parametrize("file", ["lock", "bell", "worker.0"])
@pytest.mark.parametrize("target", ["file", "missing"])
def test_a_link_in_the_folder_is_not_followed(name, folder, tmp_path, file, target):
    there = tmp_path / target
    if target == "file":
        there.write_text("of somebody")
    os.mkdir(folder, 0o700)
    os.symlink(there, f"{folder}/{file}")
    try:
        assert f"{folder}/{file}" in assert_refused(name, errno.ELOOP)
        assert there.exists() == (target == "file")
        assert target == "missing" or there.read_text() == "of somebody"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert_opens_anew(name)


def test_a_folder_in_place_of_the_lock_is_refused(name, folder):
    os.makedirs(f"{folder}/lock", 0o700)
    try:
        os.chmod(folder, 0o700)
        assert_refused(name, errno.EISDIR)
    finally:
        shutil.rmtree(folder)
    assert_opens_anew(name)


# -- damaged memory, and a worker that lives -------------------------------------------------------

SWAPPED = int.from_bytes(MAGIC.to_bytes(WORD, "little"), "big")
SOUND = Map(SIZE)
WORDS = [
    *(("HEADER_MAGIC", value) for value in (0, 1, MAGIC + 1, MAGIC - 1, SWAPPED)),
    *(("HEADER_SIZE", value) for value in (0, 1, SIZE - 256, SIZE + 1, 1 << 63)),
    *(("HEADER_WORKERS", value) for value in (0, WORKERS - 1, 1 << 63)),
    *(("HEADER_CLAIMS", value) for value in (0, SOUND.claims + 1)),
    *(("HEADER_EVENTS", value) for value in (0, SOUND.events - 1, SOUND.events * 2)),
    *(("HEADER_OVERFLOW", value) for value in (2, 1 << 63)),
]
COUNTERS = [
    *(("LAST", value) for value in (2, 1 << 40, (1 << 64) - 1)),
    *(("INTENT", value) for value in (0, 1 << 40, (1 << 64) - 1)),
    *(("INTENT_ID", value) for value in (0, 1 << 40, (1 << 64) - 1)),
]
LENGTHS = [SOUND.total - 1, Map(1024).total, 4096, 256, 255, WORD, 1, 0]


def test_a_damaged_header_keeps_newcomers_out_and_harms_no_worker(name, worker, memory):
    handled = []
    for number, (word, value) in enumerate(WORDS):
        sound = read_word(memory, word)
        write_word(memory, word, value)
        assert_refused(name, errno.EINVAL)
        handled.append(str(number))
        assert worker(number) == handled
        write_word(memory, word, sound)
    stdevents.Bus(name, interval=0).close()


def test_a_damaged_counter_keeps_newcomers_out_and_is_not_made_worse(name, worker, memory):
    handled = []
    for number, (word, value) in enumerate(COUNTERS):
        sound = read_word(memory, word)
        write_word(memory, word, value)
        assert_refused(name, errno.EINVAL)
        write_word(memory, word, sound)
        handled.append(str(number))
        assert worker(number) == handled
    stdevents.Bus(name, interval=0).close()


def test_another_layout_version_is_called_so(name, worker, memory):
    write_word(memory, "HEADER_MAGIC", MAGIC + 1)
    assert f"layout version {VERSION + 1}, this stdevents has {VERSION}" in assert_refused(name)


def test_memory_that_is_cut_short_is_refused_while_somebody_lives(name, folder, stale):
    """And left alone."""
    with running(HOLDER, f"{folder}/worker.0"):
        for length in LENGTHS:
            os.truncate(stale, length)
            assert_refused(name, errno.EINVAL)
            assert os.stat(stale).st_size == length
    assert_opens_anew(name)


@needs_root
def test_memory_of_another_user_is_refused_while_somebody_lives(name, worker, memory):
    os.chown(memory, NOBODY, -1)
    assert str(NOBODY) in assert_refused(name, errno.EINVAL)
    assert worker("one") == ["one"]


def test_a_link_in_place_of_the_memory_is_not_followed(name, folder, stale, tmp_path):
    """Neither to join nor, when nobody lives, to replace it (G9)."""
    victim = tmp_path / "victim"
    shutil.move(stale, victim)
    os.symlink(victim, stale)
    sound = victim.read_bytes()
    with running(HOLDER, f"{folder}/worker.0"):
        assert_refused(name)
    assert_opens_anew(name)
    assert victim.read_bytes() == sound


# -- what a killed set left behind -----------------------------------------------------------------


def test_what_killed_workers_left_is_replaced(name, folder, memory):
    """G9."""
    run(KILLED, name)
    assert os.path.exists(memory)
    assert {"lock", "worker.0"} <= set(os.listdir(folder))
    assert_opens_anew(name)


@pytest.mark.parametrize(("word", "value"), WORDS + COUNTERS)
def test_stale_memory_is_replaced_however_damaged(name, stale, word, value):
    """G9."""
    write_word(stale, word, value)
    assert_opens_anew(name)


@pytest.mark.parametrize("length", LENGTHS)
def test_stale_memory_is_replaced_however_short(name, stale, length):
    """G9."""
    os.truncate(stale, length)
    assert_opens_anew(name)


@needs_root
def test_stale_memory_of_another_user_is_replaced_if_it_can_be(name, stale):
    """G9."""
    os.chown(stale, NOBODY, -1)
    assert_opens_anew(name)


@needs_root
def test_a_folder_of_another_user_is_not_listed(name, folder):
    os.mkdir(folder, 0o700)
    assert name in names()
    os.chown(folder, NOBODY, -1)
    assert name not in names()
    os.rmdir(folder)


@pytest.mark.parametrize("left", ["folder", "lock", "worker", "files", "memory"])
def test_what_was_killed_while_it_came_or_went_is_replaced(name, folder, memory, left):
    """G9: at whatever step of joining or leaving it was."""
    if left != "memory":
        os.mkdir(folder, 0o700)
    files = {
        "lock": ["lock"],
        "worker": ["lock", "worker.0", "worker.1023"],
        "files": ["worker.x", "worker.", "worker.99999", "worker.1.2", "of another version"],
    }
    for file in files.get(left, []):
        open(f"{folder}/{file}", "x").close()
    if left == "memory":
        open(memory, "x").close()
    assert_opens_anew(name)


def test_stale_memory_of_another_size_is_replaced(name, stale):
    """G9: the size that counts is that of who creates it."""
    with contextlib.closing(stdevents.Bus(name, size=2048, interval=0)):
        assert os.stat(stale).st_size == Map(2048).total


def test_a_folder_in_place_of_the_memory_is_an_error_that_leaves_nothing(name, folder, memory):
    os.mkdir(memory)
    try:
        assert_refused(name)
        assert not os.path.exists(folder)
    finally:
        os.rmdir(memory)
    assert_opens_anew(name)


@needs_root
def test_memory_of_another_user_is_an_error_that_leaves_nothing(name):
    """As in /dev/shm, where only its owner may remove a file."""
    program = """
import os, sys
import stdevents
from inside import folder_of, memory_file_of

name, nobody = sys.argv[1], int(sys.argv[2])
os.seteuid(nobody)
folder, memory = folder_of(name), memory_file_of(name)
os.seteuid(0)
open(memory, "x").close()
os.seteuid(nobody)
try:
    stdevents.Bus(name)
except stdevents.SegmentError as error:
    print(error, os.path.exists(folder))
os.seteuid(0)
os.unlink(memory)
"""
    printed = run(program, name, NOBODY)
    assert name in printed
    assert printed.endswith("False\n")


# -- no room ---------------------------------------------------------------------------------------

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

FILL_UP_AND_POST = """
import os, sys
import stdevents

bus = stdevents.Bus(sys.argv[1], size="64k", interval=0)
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


@pytest.mark.parametrize("room", ["4k", "64k", "512k"])
def test_without_room_configure_fails_and_leaves_nothing(name, room):
    """Not SIGBUS at the first store to a page that cannot be had."""
    printed = run_on_small_memory(f"size={room}", TRY_TO_OPEN, name, "1m", "1g", str(1 << 40))
    assert printed == [f"{size} {errno.ENOSPC} []" for size in ("1m", "1g", 1 << 40)]


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
    """Whichever of them is the one too many; what that one was for must not be in the way then."""
    program = """
import errno, os, resource, sys
import stdevents

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
        print("fails")
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


# -- a server that forks behind Python's back ------------------------------------------------------


@pytest.mark.parametrize(
    ("worker", "options", "refused"),
    [
        (0, {"master": True}, True),
        (0, {"master": True, "py-call-uwsgi-fork-hooks": True}, False),
        (2, {"master": True}, False),
    ],
)
def test_the_master_of_uwsgi_does_not_open_a_bus_for_its_workers(
    worker, options, refused, name, monkeypatch
):
    """G7: its forks run no hooks, unless it is told to; a worker may open what it wants."""
    server = types.SimpleNamespace(worker_id=lambda: worker, opt=options)
    monkeypatch.setitem(sys.modules, "uwsgi", server)
    if refused:
        with pytest.raises(stdevents.StdeventsError, match="uwsgi.post_fork_hook"):
            stdevents.configure(name, interval=0)
    else:
        stdevents.configure(name, interval=0)
    assert stdevents.configured() is not refused
    stdevents.close()
