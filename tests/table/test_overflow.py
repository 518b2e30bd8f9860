"""`overflow="wait"`: nothing is overwritten that a live worker has not taken."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import threading

import pytest
from inside import (
    before,
    fail_to_open_files,
    hide_folder,
    length_of_text,
    lock_file_of,
    name_of,
    never_ask_for_the_dead,
    note_looks_for_the_living,
    note_takings_of_the_lock,
    taking,
)
from programs import run

import stdevents

SLOTS = 8
SIZE = 256 * SLOTS
ROOM = SLOTS - 1  # events: where the next one begins is in the slot of the one taken last


@pytest.fixture
def bus(name):
    """A bus with room for seven events, whose posts do not try again."""
    bus = stdevents.Bus(name, size=SIZE, overflow="wait", interval=0, shm_retries=0)
    bus.poll()
    yield bus
    bus.close()


def fill(bus, data=None):
    """Post until there is no room; the error, and how many were posted."""
    before = bus.stats().posted
    with pytest.raises(stdevents.NoRoom) as caught:
        while True:
            bus.post("test", "fill", data)
    return caught.value, bus.stats().posted - before


def stay_behind(parent, bus):
    """Be a worker that takes nothing until it is told to."""
    bus.configure(interval=0)
    parent.tell()
    parent.hear()
    bus.poll()
    return bus.stats().lost


def test_no_room_for_another_event_names_the_slowest_worker(bus):
    error, posted = fill(bus)
    assert posted == ROOM
    assert (error.pid, error.lag, error.pids) == (os.getpid(), ROOM, (os.getpid(),))
    assert str(os.getpid()) in str(error)
    assert isinstance(error, TimeoutError)


def test_no_room_for_the_bytes_of_another_event(bus):
    _, posted = fill(bus, "x" * 600)
    assert posted == SIZE // length_of_text("test", "fill", "x" * 600)


def test_a_refused_event_leaves_nothing(bus, seen):
    """G2: the next one has the next id, and all that was posted is there."""
    _, posted = fill(bus)
    before = bus.stats().last_id
    bus.poll()
    assert bus.post("test", "next") == before + 1
    bus.poll()
    assert [event for _, event, _ in seen] == ["fill"] * posted + ["next"]
    assert bus.stats().lost == 0


def test_a_payload_as_large_as_the_ring_has_to_wait_for_all_before_it(bus, seen):
    bus.post("test", "small")
    with pytest.raises(stdevents.NoRoom):
        bus.post("s", "e", taking(SIZE))
    bus.poll()
    bus.post("s", "e", taking(SIZE))
    bus.poll()
    assert [event for _, event, _ in seen] == ["small", "e"]


def test_payloads_of_all_sizes_wrap_and_nothing_is_lost(bus, seen):
    """G3."""
    sizes = random.Random(7)
    posted = []
    for number in range(1000):
        data = [number, "x" * sizes.randrange(SIZE - 40)]
        try:
            bus.post("test", "x", data)
        except stdevents.NoRoom:
            bus.poll()
            bus.post("test", "x", data)
        posted.append(data)
    bus.poll()
    assert [data for _, _, data in seen] == posted
    assert bus.stats().lost == 0


def test_a_post_waits_until_the_slowest_worker_has_taken_more(bus, fork):
    child = fork(stay_behind, bus)
    child.hear()
    bus.poll()
    for _ in range(ROOM - 1):  # and its own `started`
        bus.post("test", "x")
    bus.poll()
    with pytest.raises(stdevents.NoRoom) as caught:
        bus.post("test", "too many")
    assert caught.value.pid == child.pid
    bus.configure(shm_retries=10_000)
    child.say()
    bus.post("test", "in time")
    assert child.result() == 0


def test_a_dead_worker_holds_up_nobody(bus, fork):
    """G5: seen by the lock on its file, at the first try."""
    child = fork(stay_behind, bus)
    child.hear()
    child.kill()
    bus.configure(shm_retries=0)
    for _ in range(3 * SLOTS):
        bus.poll()
        bus.post("test", "x")
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]


def keep_back(bus, fork):
    """A child that takes nothing, and with whom there is no room for another event."""
    child = fork(stay_behind, bus)
    child.hear()
    bus.poll()
    while bus.stats().posted < 2 * SLOTS:
        bus.poll()
        try:
            bus.post("test", "fill")
        except stdevents.NoRoom as full:
            assert full.pids == (child.pid,)
            return child
    raise AssertionError("there is always room")


def while_it_waits(monkeypatch, action):
    """Do it when a post without room first looks whether its worker has moved."""
    actions = [action]
    before(monkeypatch, "a slow worker is looked at", lambda: actions and actions.pop()())


def test_a_post_that_waits_leaves_the_lock_alone_until_a_worker_moves(bus, fork, monkeypatch):
    """G5: many that wait would else keep all others from it. At last it tries once more."""
    keep_back(bus, fork)
    never_ask_for_the_dead(monkeypatch)
    bus.configure(shm_retries=20, wait_interval=0.001)
    taken = note_takings_of_the_lock(monkeypatch, bus)
    with pytest.raises(stdevents.NoRoom):
        bus.post("test", "too many")
    assert len(taken) == 3  # also when it comes to know that it has to wait


def test_a_post_that_waits_sees_that_its_worker_has_moved(bus, fork, monkeypatch):
    child = keep_back(bus, fork)
    never_ask_for_the_dead(monkeypatch)
    bus.configure(shm_retries=10**6)
    while_it_waits(monkeypatch, child.say)
    bus.post("test", "in time")
    assert child.result() == 0


def test_a_post_that_waits_sees_that_its_worker_has_died(bus, fork, monkeypatch):
    """G5."""
    child = keep_back(bus, fork)
    bus.configure(shm_retries=10**6)
    while_it_waits(monkeypatch, child.kill)
    bus.post("test", "then")
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]


def test_a_post_looks_only_at_the_workers_that_are_too_slow(bus, fork, monkeypatch):
    """From the slowest on, until one of them lives."""
    children = []
    for _ in range(4):
        bus.poll()
        children.append(fork(stay_behind, bus))
        children[-1].hear()
    children[0].kill()
    children[1].kill()
    looked = note_looks_for_the_living(monkeypatch, bus)
    bus.post("test", "small")
    bus.poll()
    with pytest.raises(stdevents.NoRoom) as caught:
        bus.post("test", "large", "x" * (SIZE - 40))
    assert looked[:3] == [1, 2, 3] and set(looked[3:]) == {3}
    assert caught.value.pids == (children[2].pid, children[3].pid)


def test_a_post_that_waits_while_the_bus_is_closed_says_so(bus, name, fork, monkeypatch):
    def close():
        closing = threading.Thread(target=bus.close)
        closing.start()
        closing.join()

    keep_back(bus, fork)
    bus.configure(shm_retries=10**6)
    while_it_waits(monkeypatch, close)
    with pytest.raises(stdevents.NotConfigured):
        bus.post("test", "too late")
    bus.configure(name)  # it clears away what the child leaves


def test_a_post_that_waits_for_room_waits_for_the_lock_once(bus, fork, monkeypatch):
    """G5: LockTimeout after `wait_max`, not after `shm_retries` times as long."""

    def hold(parent):
        parent.hear()
        descriptor = os.open(lock_file_of(name_of(bus)), os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        parent.tell()
        parent.hear()
        os.close(descriptor)

    def take():
        holder.say()
        holder.hear()

    keep_back(bus, fork)
    holder = fork(hold)
    bus.configure(shm_retries=10**6, wait_max=0.05)
    while_it_waits(monkeypatch, take)
    with pytest.raises(stdevents.LockTimeout):
        bus.post("test", "too many")
    holder.say()
    holder.result()


def test_a_handler_that_would_wait_for_its_own_worker_is_told_at_once(bus):
    bus.configure(shm_retries=10**9)
    errors = []

    @bus.on("test", "start")
    def flood(data, event, source, pid):
        with pytest.raises(stdevents.NoRoom) as caught:
            for _ in range(2 * SLOTS):
                bus.post("test", "flood")
        errors.append(caught.value)

    bus.post("test", "start")
    bus.poll()
    assert [error.pid for error in errors] == [os.getpid()]


def test_a_thread_that_would_wait_for_its_own_poll_is_told_at_once(bus):
    """It is the only one that polls, and it is not polling now."""
    bus.configure(shm_retries=10**9)
    with pytest.raises(stdevents.NoRoom) as caught:
        for _ in range(2 * SLOTS):
            bus.post("test", "event")
    assert caught.value.pids == (os.getpid(),)


def test_a_post_waits_for_a_thread_that_polls(bus, monkeypatch):
    """Another one of its own process."""

    def poll():
        poller = threading.Thread(target=bus.poll)
        poller.start()
        poller.join()

    bus.post("test", "event")
    poll()
    bus.configure(shm_retries=10**6, wait_interval=0.001)
    while_it_waits(monkeypatch, poll)
    for _ in range(SLOTS):
        bus.post("test", "event")
    assert bus.stats().lost == 0


def test_who_joins_takes_over_the_mode(bus, name):
    program = """
import logging, stdevents, sys
logging.getLogger("stdevents").addHandler(logging.NullHandler())  # `stopping` finds no room, either
bus = stdevents.Bus(sys.argv[1], interval=0, shm_retries=0)
try:
    for _ in range(99):
        bus.post("test", "x")
except stdevents.NoRoom:
    print("waits")
"""
    assert run(program, name) == "waits\n"


@pytest.mark.parametrize("created, asked", [("wait", "drop"), ("drop", "wait")])
def test_who_asks_for_another_mode_is_refused(name, created, asked):
    program = """
import stdevents, sys
try:
    stdevents.configure(sys.argv[1], overflow=sys.argv[2])
except stdevents.StdeventsError as error:
    print(error)
"""
    with_mode = stdevents.Bus(name, interval=0, overflow=created)
    error = run(program, name, asked)
    assert created in error and asked in error and name in error
    with pytest.raises(stdevents.StdeventsError, match=created):
        with_mode.configure(overflow=asked)
    with_mode.configure(overflow=created)
    with_mode.close()


def test_what_was_joined_late_from_the_oldest_is_not_overwritten(bus, name, fork):
    """A newcomer that is further back than all others counts from its first moment."""

    def work(parent):
        bus.close()
        late = stdevents.Bus(name, interval=0, start="oldest")
        parent.tell()
        parent.hear()
        late.poll()
        return late.stats().lost

    for _ in range(ROOM - 2):
        bus.post("test", "x")
    bus.poll()
    child = fork(work)
    child.hear()
    bus.configure(shm_retries=0)
    with pytest.raises(stdevents.NoRoom) as caught:
        for _ in range(2 * SLOTS):
            bus.poll()
            bus.post("test", "y")
    assert caught.value.pid == child.pid
    child.say()
    assert child.result() == 0


def test_a_nested_post_without_room_does_not_double_the_interrupted_one(
    bus, seen, monkeypatch, caplog
):
    """G2: what cannot be told to its poster any more is said in the log."""
    ids = []

    def post():
        monkeypatch.undo()
        ids.append(bus.post("test", "signal"))

    for _ in range(ROOM - 1):
        bus.post("test", "fill")
    before(monkeypatch, "an event is written", post)
    assert bus.post("test", "main") == bus.stats().last_id
    bus.poll()
    assert ids == [0]
    assert [event for _, event, _ in seen] == ["fill"] * (ROOM - 1) + ["main"]
    assert "what a signal handler or finaliser left is dropped: " in caplog.text
    assert "no room" in caplog.text


def in_a_root_of_its_own(monkeypatch, bus):
    hide_folder(monkeypatch, bus)


def without_privileges(monkeypatch, bus):
    fail_to_open_files(monkeypatch, errno.EACCES)


def without_descriptors(monkeypatch, bus):
    fail_to_open_files(monkeypatch, errno.EMFILE)


@pytest.mark.parametrize(
    "hinder",
    [
        without_privileges,
        without_descriptors,
        in_a_root_of_its_own,
    ],
)
def test_who_cannot_look_for_the_dead_is_refused_and_leaves_nothing(bus, seen, monkeypatch, hinder):
    """G2: all count as alive, then."""
    _, posted = fill(bus)
    hinder(monkeypatch, bus)
    with pytest.raises(stdevents.NoRoom):
        bus.post("test", "refused")
    monkeypatch.undo()
    bus.poll()
    bus.post("test", "next")
    bus.poll()
    assert [event for _, event, _ in seen] == ["fill"] * posted + ["next"]


def test_what_posters_reckon_with_is_forgotten_when_a_joiner_goes_back(
    bus, name, fork, monkeypatch
):
    """A post while it is joining would else count on it being further on."""

    def work(parent):
        bus.close()
        before(monkeypatch, "a joiner goes back", lambda: (parent.tell(), parent.hear()))
        joined = stdevents.Bus(name, interval=0, start="oldest")
        parent.tell()
        parent.hear()
        joined.poll()
        return joined.stats().lost

    child = fork(work)
    child.hear()
    for _ in range(2):
        bus.poll()
        bus.post("test", "while it joins")
    child.say()
    child.hear()
    with pytest.raises(stdevents.NoRoom):
        for _ in range(2 * SLOTS):
            bus.poll()
            bus.post("test", "event")
    child.say()
    assert child.result() == 0
