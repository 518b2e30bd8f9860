"""G7: our hooks of a fork, among those of other modules and of other buses, and interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from outside import Late, Raising
from programs import run
from seen import everything_from
from state import assert_sound
from waiting import LONG, loop_threads, wait_until_in

import stdevents

# -- among those of other modules ------------------------------------------------------------------

LATER_MODULE = """
import os, sys, threading
import stdevents
from inside import loop_thread_of
from waiting import wait_until_in

early, heard = [], threading.Event()
lock = threading.Lock()

def renew():
    global lock
    # By now it is in its pause; or it has done what must not be done yet.
    wait_until_in(loop_thread_of(bus), "wait")
    early.extend(ran)
    lock = threading.Lock()

os.register_at_fork(
    before=lambda: lock.acquire(), after_in_parent=lambda: lock.release(), after_in_child=renew
)
ran = []

def handler(data, event, source, pid):
    ran.append(event)
    if lock.acquire(timeout=1):
        lock.release()
        heard.set()
"""


def test_no_handler_runs_before_the_hooks_of_modules_that_came_later(name):
    """G7: they make locks anew, which a handler may need; then it runs by itself."""
    program = f"""{LATER_MODULE}
bus = stdevents.Bus()
bus.register(handler, "stdevents", "started")
bus.configure(sys.argv[1], interval=0.01)
assert heard.wait(60)
heard.clear()
ran.clear()
ear, mouth = os.pipe()
child = os.fork()
if not child:
    os.write(mouth, repr((early, heard.wait(60))).encode())
    bus.close()
    os._exit(0)
os.waitpid(child, 0)
print(os.read(ear, 100).decode())
bus.close()
"""
    assert run(program, name) == "([], True)\n"


def test_a_fork_does_not_wait_for_a_handler_that_waits_for_the_fork(name):
    """G7: a module that came later holds its lock over the fork; `wait_max` is not waited out."""
    program = f"""{LATER_MODULE}
import warnings
from inside import loops_begin_after

warnings.simplefilter("ignore", DeprecationWarning)  # the handler's thread is there at the fork
bus = stdevents.Bus(sys.argv[1], interval=0.01, wait_max=1000, wait_interval=0.01)
inside, holds, ended = threading.Event(), threading.Event(), threading.Event()

@bus.on("test")
def needs_the_lock(*_):
    inside.set()
    holds.wait(60)
    with lock:
        ended.set()

bus.post("test", "event")
inside.wait(60)
os.register_at_fork(before=holds.set)  # the first one: it comes before ours, and the lock's
with loops_begin_after(60):  # the child, which handles the event again, has no lock before `renew`
    child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
print(ended.wait(60), bus.stats().lost)
bus.close()
"""
    assert run(program, name) == "True 0\n"


EARLIER_MODULE = """
import os, sys

def in_child():
    hook()

def hook():
    pass

os.register_at_fork(after_in_child=in_child)
import stdevents
"""


def test_a_post_in_an_earlier_modules_hook_is_not_let_in_by_its_parent(name):
    """G7: the child has copies of all files then, the lock among them."""
    program = f"""{EARLIER_MODULE}
from inside import under_lock

bus = stdevents.Bus(sys.argv[1], interval=0, wait_max=0.01)
ear, mouth = os.pipe()
waits, go = os.pipe()

def hook():
    os.read(waits, 1)
    try:
        said = bus.post("child", "event")
    except stdevents.LockTimeout:
        said = "refused"
    os.write(mouth, str(said).encode())

child = os.fork()
if not child:
    os._exit(0)
last = bus.stats().last_id
print(under_lock(bus, lambda: (os.write(go, b"!"), os.read(ear, 100).decode())[1]))
print(bus.stats().last_id == last)
os.waitpid(child, 0)
bus.close()
"""
    assert run(program, name) == "refused\nTrue\n"


def test_posts_in_the_hook_of_an_earlier_module_are_a_workers_own(name):
    """G1, G2, G7: while its parent posts, too, no id is given twice, and nothing is torn."""
    program = f"""{EARLIER_MODULE}
from inside import faults_of

POSTS = 300
bus = stdevents.Bus(sys.argv[1], interval=0, wait_max=30)
ear, mouth = os.pipe()
posters = []
bus.register(lambda data, event, source, pid: posters.append(pid), "test")

def post_all():
    return [bus.post("test", "event", "x" * 40) for _ in range(POSTS)]

def hook():
    with os.fdopen(mouth, "w") as file:
        file.write(repr(post_all()))

child = os.fork()
if not child:
    os._exit(0)
os.close(mouth)
mine = post_all()
with os.fdopen(ear) as file:
    theirs = eval(file.read())
os.waitpid(child, 0)
bus.poll()
twice = set(mine) & set(theirs)
counts = posters.count(child), posters.count(os.getpid())
print(twice or "no id twice", faults_of(sys.argv[1]), counts)
bus.close()
"""
    assert run(program, name) == "no id twice [] (300, 300)\n"


def test_a_child_has_the_bus_of_a_parent_that_left_right_after_the_fork(name):
    """G7, G9: it has not even had its hook then."""
    program = f"""{EARLIER_MODULE}
ear, mouth = os.pipe()
gone, leave = os.pipe()
parent = os.fork()
if parent:
    os.close(mouth)
    os.close(leave)
    os.waitpid(parent, 0)
    with os.fdopen(ear) as file:
        print(file.read())
    sys.exit()

def hook():
    os.close(leave)
    os.read(gone, 1)  # until its parent is gone

bus, seen = stdevents.Bus(sys.argv[1], interval=0), []
bus.poll()
bus.register(lambda data, event, source, pid: seen.append(event))
last = bus.post("test", "job")
if os.fork():
    bus.close()
    os._exit(0)
bus.poll()
os.write(mouth, repr((seen, bus.stats().last_id - last, len(bus.workers()))).encode())
bus.close()
os._exit(0)
"""
    # The parent's `stopping`, and the child's `started`.
    assert run(program, name) == "(['job', 'stopping', 'started'], 2, 1)\n"


# -- interrupted -----------------------------------------------------------------------------------


@pytest.fixture
def buses(name):
    """Two buses with loops, and an event of each that is set when it has handled `test`."""
    found = []
    for letter in "ab":
        bus, heard = stdevents.Bus(f"{name}-{letter}", interval=0.01), threading.Event()
        bus.register(lambda *_, heard=heard: heard.set(), "test")
        found.append((bus, heard))
    yield found
    for bus, _ in found:
        bus.close()


@pytest.fixture
def interrupt_start(monkeypatch):
    """`interrupt_start(in_child)`: a signal handler raises when a hook has started a thread."""
    handler = signal.signal(signal.SIGUSR1, Raising())
    ignored = []
    start, parent = threading.Thread.start, os.getpid()

    def interrupt_start(in_child):
        # Not before the test itself: some versions of pytest set their own hook then.
        monkeypatch.setattr(sys, "unraisablehook", lambda raised: ignored.append(raised.exc_type))

        def start_and_be_interrupted(thread):
            start(thread)
            if (os.getpid() != parent) == in_child:
                threading.Thread.start = start
                wait_until_in(thread, "wait")
                signal.raise_signal(signal.SIGUSR1)

        monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
        return ignored

    yield interrupt_start
    signal.signal(signal.SIGUSR1, handler)


def test_a_start_of_the_loop_that_is_interrupted_leaves_no_thread(name, fork, interrupt_start):
    """G5: it would poll beside the next one, and be there at each fork."""
    bus = stdevents.Bus(name, interval=LONG)
    interrupt_start(in_child=False)
    fork(lambda parent: None).result()
    assert loop_threads(name) == []
    bus.configure(interval=LONG)
    assert len(loop_threads(name)) == 1
    bus.close()


def all_hear(buses):
    for bus, heard in buses:
        heard.clear()
        bus.post("test", "event")
        if not heard.wait(LONG):
            return False
    return True


def test_a_signal_in_the_parents_hook_leaves_every_bus_its_loop(buses, fork, interrupt_start):
    """G5, G7: CPython swallows what a hook raises; the next call finds what is missing."""
    ignored = interrupt_start(in_child=False)
    fork(lambda parent: None).result()
    assert ignored == [Late]
    assert all_hear(buses)


def test_a_signal_in_the_childs_hook_leaves_every_bus_its_loop(buses, fork, interrupt_start):
    """G5, G7."""
    ignored = interrupt_start(in_child=True)
    child = fork(lambda parent: (all_hear(buses), ignored))
    assert child.result() == (True, [Late])
    assert all_hear(buses)


def test_a_signal_in_the_childs_hook_leaves_no_bus_its_parents_lock(
    name, buses, fork, interrupt_start
):
    """G2, G7: the other bus's, too, of which the hook was not begun yet."""
    posts = 200
    interrupt_start(in_child=True)
    for bus, _ in buses:
        bus.configure(wait_max=30)

    def post_all():
        return [bus.post("other", "event", "x" * 40) for _ in range(posts) for bus, _ in buses]

    child = fork(lambda parent: post_all())
    mine = post_all()
    theirs = child.result()
    for first in range(2):
        assert not {*mine[first::2]} & {*theirs[first::2]}
    for letter in "ab":
        assert_sound(f"{name}-{letter}")


def test_signals_in_all_hooks_of_one_fork_leave_the_bus_whole(bus, fork, interrupt_start):
    """G5, G7: before, and after it in parent and child; and the next fork is as any."""
    seen = everything_from(bus, "test")
    bus.configure(interval=0.01)
    interrupt_start(in_child=False)
    fork(lambda parent: None).result()
    interrupt_start(in_child=True)

    def work(parent):
        bus.post("test", "event", "child")
        return len(bus.workers())

    assert fork(work).result() == 2
    heard = threading.Event()
    bus.register(lambda *_: heard.set(), "test", "last")
    bus.post("test", "last", "parent")
    assert heard.wait(LONG)
    assert seen == ["child", "parent"]
