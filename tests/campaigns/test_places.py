"""Places that a bus has to do without, or with: a full tmpfs, other users, things in the way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys

import pytest
from children import SECONDS
from inside import folder_of, memory_file_of
from programs import run, run_on_small_memory

import stdevents

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)

# -- full ------------------------------------------------------------------------------------------

# As many pages are free as is said; what does not fail then has to go on when none is left.
FULL = """
import errno, os, sys
import stdevents

name, size, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
PAGE = 4096

def fill():
    with open("/dev/shm/filler", "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(PAGE))
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
    return os.stat("/dev/shm/filler").st_size

def go_on():
    seen = []
    bus.register(lambda data, *_: seen.append(data), "test")
    bus.poll()
    child = os.fork()
    if not child:
        bus.post("test", "of the child", "child")
        bus.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for number in range(3 * size // 256):
        bus.post("test", "event", [number, "x" * 300], unique=number)
        bus.poll()
    assert len(seen) == 3 * size // 256 + 1, len(seen)
    assert bus.stats().lost == bus.stats().handler_errors == 0

for free in range(most):
    length = fill()
    os.truncate("/dev/shm/filler", length - free * PAGE)
    bus = stdevents.Bus()
    try:
        bus.configure(name, size=size, interval=0, timeout=1e-6)
    except stdevents.SegmentError as error:
        assert error.errno == errno.ENOSPC and name in str(error), error
        print("refused")
    else:
        fill()
        go_on()
        bus.close()
        print("works")
    assert os.listdir("/dev/shm") == ["filler"], os.listdir("/dev/shm")
"""


def test_full_memory(campaign, name):
    """G9: no SIGBUS at any number of free pages: refused, or good until the end."""
    cases = 0
    for size in campaign.size((1024,), (1024, 4096, 10_000, 65_536, 200_000)):
        # Header, worker slots and what goes with the ring.
        most = (67 * 1024 + size * 3 // 2) // 4096 + 8
        results = run_on_small_memory("size=2m", FULL, name, str(size), str(most))
        campaign.count("unexpected", results != sorted(results))
        campaign.count("unexpected", set(results) != {"refused", "works"})
        cases += len(results)
        campaign.progress("full memory", cases)
    campaign.end("full memory", cases)


# -- other users -----------------------------------------------------------------------------------

# Users with a bus of one name each, and workers that give up their privileges when it is open.
USERS = """
import json, os, random, signal, sys
import stdevents

name, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance = random.Random(seed)

def work(user, count, opened, gone):
    seen = []
    bus = stdevents.Bus()
    bus.register(lambda data, *_: seen.append(data), "test")
    if user >= 0:
        os.setuid(user)
        bus.configure(name, size="64k", interval=0, wait_max=30)
    else:
        bus.configure(name, size="64k", interval=0, wait_max=30)
        os.setuid(-user)
    os.write(opened[1], b"!")
    os.read(gone[0], 1)
    for number in range(count):
        bus.post("test", "event", user if user > 0 else 0)
        bus.poll()
    assert set(seen) == {max(user, 0)}, seen
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()

for _ in range(rounds):
    opened, gone = os.pipe(), os.pipe()
    users = [1001, 1001, 1002, 65534, -1003, -1004]
    chance.shuffle(users)
    root = stdevents.Bus(name, size="64k", interval=0)  # so that the last one out may remove it all
    children = []
    for user in users:
        children.append(os.fork())
        if not children[-1]:
            signal.alarm(30)
            root.close()
            work(user, 3, opened, gone)
            os._exit(0)
    for _ in users:
        assert os.read(opened[0], 1)
    os.write(gone[1], b"!" * len(users))
    results = [os.waitpid(child, 0)[1] for child in children]
    root.poll()
    assert root.stats().lost == 0
    root.close()
    for end in (*opened, *gone):
        os.close(end)
    # Those who gave up their privileges could not remove their files.
    left = [entry for entry in os.listdir("/dev/shm") if entry.startswith("stdevents")]
    print(json.dumps([results, left]), flush=True)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
def test_other_users(campaign, name):
    """G9: buses of one name do not meet; who becomes another user stays on its bus."""
    rounds = campaign.size(10, 1_000)
    done = 0
    while done < rounds:
        some = min(rounds - done, 40)
        for line in run_on_small_memory(
            "size=8m,mode=1777", USERS, name, str(campaign.seed + done), str(some)
        ):
            results, left = json.loads(line)
            campaign.count("unexpected", any(results))
            campaign.count("unexpected", bool(left))
        done += some
        campaign.progress("other users", done)
    campaign.end("other users", rounds)


# -- in the way ------------------------------------------------------------------------------------


def link(path, victim):
    os.symlink(victim / "file", path)


def dangling_link(path, victim):
    os.symlink(victim / "missing", path)


def link_to_folder(path, victim):
    os.symlink(victim, path)


def loop(path, victim):
    os.symlink(path, path)


def fifo(path, victim):
    os.mkfifo(path, 0o600)


def unix_socket(path, victim):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


def file(path, victim):
    with open(path, "x") as there:
        there.write("of somebody")


def folder(path, victim):
    os.mkdir(path, 0o700)


def full_folder(path, victim):
    os.mkdir(path, 0o700)
    file(os.path.join(path, "file"), victim)


KINDS = (link, dangling_link, link_to_folder, loop, fifo, unix_socket, file, folder, full_folder)
PLACES = ("", "lock", "bell", "worker.0", "worker.1", "worker.1023", "other", "memory")

# Opens the bus as the second, and says what came of it; then it posts, if it could.
SECOND = """
import logging, signal, sys
import stdevents

logging.disable(logging.WARNING)  # that the last one out could not remove a folder of others
signal.alarm(int(sys.argv[2]))
bus = stdevents.Bus()
try:
    bus.configure(sys.argv[1], size=1024, interval=0)
except stdevents.SegmentError as error:
    print("refused" if sys.argv[1] in str(error) else error)
else:
    bus.post("test", "event")
    bus.poll()
    bus.close()
    print("works")
"""


def put_in_the_way(name, kind, place, victim):
    """Put such a thing there, where nobody has the bus open, and its path."""
    folder = folder_of(name)
    if place == "memory":
        path = memory_file_of(name)
    elif place:
        os.mkdir(folder, 0o700)
        path = os.path.join(folder, place)
    else:
        path = folder
    kind(path, victim)
    return path


def remove_all(name):
    for path in (folder_of(name), memory_file_of(name)):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


def test_things_in_the_way(campaign, name, tmp_path):
    """G9: refused, or replaced; nothing that a link leads to is touched, and nobody hangs."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("of somebody")
    cases = 0
    for kind in KINDS:
        for place in PLACES:
            if not campaign.long and campaign.random.random() < 0.85:
                continue
            put_in_the_way(name, kind, place, victim)
            printed = run(SECOND, name, SECONDS // 2).strip()
            campaign.count(printed)
            sound = (victim / "file").read_text() == "of somebody"
            if printed not in ("refused", "works") or os.listdir(victim) != ["file"] or not sound:
                campaign.count("unexpected")
                print(f"{kind.__name__} as {place or 'the folder'}: {printed}")
            remove_all(name)
            stdevents.Bus(name, interval=0).close()
            cases += 1
            campaign.progress("things in the way", cases)
    campaign.end("things in the way", cases)
