"""What the tests share: a bus name of one's own, children, and a look at what is left."""

from __future__ import annotations

import gc
import glob
import os
import signal
import threading
import uuid

import pytest
import steps
from children import SECONDS, Child
from inside import act_as_a_processor_that_reorders, folder_of, memory_file_of
from waiting import wait_for_the_end_of

import stdevents

pytest.register_assert_rewrite("state")

HANGS = 10 * SECONDS  # a test without a watchdog


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="campaigns at their long size")
    parser.addoption("--seed", type=int, default=4711, help="of the campaigns (%(default)s)")
    parser.addoption("--every-step", action="store_true", help="of a call; else every tenth")
    parser.addoption("--fences", action="store_true", help="as on a processor that reorders")


def pytest_configure(config):
    if config.option.every_step:
        steps.SAMPLE = 1
    if config.option.fences:
        act_as_a_processor_that_reorders()


def pytest_collection_finish():
    """What is there by now stays: no collection of garbage, and no fork, is to go through it."""
    if hasattr(gc, "freeze"):  # not in PyPy
        gc.freeze()


@pytest.fixture(autouse=True)
def threads_end():
    """No thread outlives its test: a fork of the next one would warn of it, or inherit its work."""
    before = threading.enumerate()
    yield
    wait_for_the_end_of([thread for thread in threading.enumerate() if thread not in before])


@pytest.fixture
def name():
    """The name of a bus that nobody else has, and of which nothing may be left (G9)."""
    name = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    yield name
    stdevents.close()
    left = glob.glob(f"{folder_of(name)}*") + glob.glob(memory_file_of(name))
    assert not left, f"left behind: {left}"


@pytest.fixture
def no_garbage():
    """No finaliser of an earlier test runs during this one, as it may on PyPy."""
    for _ in range(2):
        gc.collect()


@pytest.fixture
def bus(name):
    """A bus that is polled by hand, its own `started` already handled.

    On a busy machine many children that join at once wait longer for the lock than by default; not
    so long that a lock which is never free counts as a test that hangs.
    """
    bus = stdevents.Bus(name, interval=0, wait_max=SECONDS / 4)
    bus.poll()
    yield bus
    bus.close()


@pytest.fixture
def seen(bus):
    """The events that `bus` hands to its handlers, as (source, event, data)."""
    seen = []

    def record(data, event, source, pid):
        seen.append((source, event, data))

    bus.register(record)
    return seen


@pytest.fixture
def interruptible():
    """Programs that the test starts can be interrupted, also where the tests themselves cannot.

    A shell's background jobs ignore SIGINT, and what they start inherits that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol():
    """No test hangs, nor do its fixtures, or what is left to be ended after it has failed."""

    def fail(number, frame):
        pytest.fail("the test hangs: it has not got on for too long")

    before = signal.signal(signal.SIGALRM, fail)
    watch(HANGS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def watch(seconds):
    """The alarm goes off again and again: where it interrupts a finaliser, that swallows it."""
    signal.setitimer(signal.ITIMER_REAL, seconds, SECONDS)


@pytest.fixture
def watchdog():
    """The test gets on. A long one sets the alarm anew, as often as it does."""
    watch(SECONDS)
    yield
    watch(HANGS)


@pytest.fixture
def fork(name, watchdog):
    """`fork(work, *arguments)` makes children, of which none outlives the test."""
    children = []

    def fork(work, *arguments):
        children[:] = [child for child in children if child.status is None]
        children.append(Child(work, *arguments))
        return children[-1]

    yield fork
    for child in children:
        child.kill()
