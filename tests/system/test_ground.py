"""A bus that is removed under its workers: they meet again, and are told of it.

A clean-up that is too eager does that, or systemd at a logout (RemoveIPC).
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import threading

import pytest
from inside import (
    ROOT,
    folder_of,
    has_its_ground,
    is_of_letting_go,
    lock_file_of,
    look_at_ground,
    look_at_ground_always,
    memory_file_of,
    settings_of,
)
from seen import Ear
from state import assert_removed
from steps import at_each, with_steps

import stdevents

TOLD = {"first": None, "last": None, "count": None}


def remove_memory(name):
    os.unlink(memory_file_of(name))


def remove_folder(name):
    path = folder_of(name)
    os.rename(path, f"{path}-removed")  # at once: who notices makes another one
    shutil.rmtree(f"{path}-removed")


def remove_all(name):
    remove_folder(name)
    remove_memory(name)


def remove_lock(name):
    """As who removes what has not changed for long."""
    os.unlink(lock_file_of(name))


each_removal = pytest.mark.parametrize(
    "remove",
    [
        pytest.param(
            remove_memory,
            marks=pytest.mark.skipif(ROOT != "/dev/shm", reason="needs shared memory as files"),
        ),
        remove_folder,
        remove_all,
        remove_lock,
    ],
)


@pytest.fixture
def eager(monkeypatch):
    """A bus that is polled by hand looks at each poll whether it is there still."""
    look_at_ground_always(monkeypatch)


@each_removal
def test_workers_whose_bus_is_removed_meet_again_and_are_told(name, fork, remove):
    """G3: each of its own accord, within an interval; what is posted then reaches all."""

    def work(parent):
        bus = stdevents.Bus(name, interval=0.05)
        ear = Ear(bus)
        parent.tell()
        ear.wait_for("lost")
        parent.tell()
        ear.wait_for("after")
        bus.close()
        return ear.seen

    children = [fork(work) for _ in range(3)]
    for child in children:
        child.hear()
    remove(name)
    for child in children:
        child.hear()
    bus = stdevents.Bus(name, interval=0)
    assert len(bus.workers()) == 4
    bus.post("test", "after", 1)
    for child in children:
        assert child.result() == [("lost", TOLD), ("after", 1)]
    bus.close()


@each_removal
def test_a_newcomer_does_not_wait_for_a_worker_that_has_not_noticed(name, fork, remove):
    """G2: nor shares its memory under another lock; the two meet when the other one looks."""

    def work(parent):
        bus = stdevents.Bus(name, interval=0)
        ear = Ear(bus)
        parent.tell()
        parent.hear()
        bus.post("test", "late", 1)
        look_at_ground(bus)
        bus.poll()
        return ear.seen

    child = fork(work)
    child.hear()
    remove(name)
    bus = stdevents.Bus(name, interval=0)
    ear = Ear(bus)
    bus.post("test", "early", 1)
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]
    child.say()
    assert child.result() == [("late", 1), ("lost", TOLD), ("early", 1)]
    bus.poll()
    assert ear.seen == [("early", 1)]
    bus.close()


@pytest.mark.parametrize("file", ["bell", "worker.0"])
def test_a_worker_without_its_bell_or_slot_takes_new_ones(name, eager, file):
    """G8: on the same bus, with nothing lost."""
    bus = stdevents.Bus(name, interval=0)
    ear = Ear(bus)
    os.unlink(os.path.join(folder_of(name), file))
    bus.post("test", "event", 1)
    bus.poll()
    assert os.path.exists(os.path.join(folder_of(name), file))
    assert has_its_ground(bus)
    assert ear.seen == [("event", 1)]
    bus.close()


@each_removal
def test_what_the_removed_bus_still_had_is_handled_first(name, eager, remove):
    """G1, G3: the loss has its place in the order."""
    bus = stdevents.Bus(name, interval=0)
    ear = Ear(bus)
    bus.post("test", "before", 1)
    bus.post("test", "before", 2)
    remove(name)
    bus.poll()
    bus.post("test", "after", 3)
    bus.poll()
    assert ear.seen == [("before", 1), ("before", 2), ("lost", TOLD), ("after", 3)]
    bus.close()


def test_what_was_posted_before_a_worker_came_to_the_new_bus_reaches_it(name, fork, eager):
    """G3: it was a worker all the time."""
    bus = stdevents.Bus(name, interval=0)
    ear = Ear(bus)
    remove_all(name)

    def work(parent):
        bus.close()
        new = stdevents.Bus(name, interval=0)
        new.post("test", "early", 1)
        parent.tell()
        parent.hear()

    child = fork(work)
    child.hear()
    bus.poll()
    assert ear.seen == [("lost", TOLD), ("early", 1)]
    child.say()
    child.result()
    bus.close()


def test_its_counts_and_its_local_events_outlast_the_removal(name, eager):
    bus = stdevents.Bus(name, interval=0)
    ear = Ear(bus)
    bus.post("test", "before")
    bus.poll()
    before = bus.stats()
    bus.post_local("test", "local", 1)
    remove_all(name)
    bus.poll()
    after = bus.stats()
    assert (after.posted, after.handled) == (before.posted + 1, before.handled + 1)  # `started`
    assert ("local", 1) in ear.seen
    bus.close()


def test_who_waits_by_fileno_goes_on_with_the_same_one(name, eager):
    bus = stdevents.Bus(name, interval=0)
    number = bus.fileno()
    remove_all(name)
    bus.poll()
    assert bus.fileno() == number
    bus.poll()
    assert not select.select([number], [], [], 0)[0]
    bus.post("test", "event")
    assert select.select([number], [], [])[0]
    bus.close()


def test_what_is_in_the_way_of_joining_anew_is_told_until_it_is_gone(name, eager, caplog):
    """The next call tries again; nothing of the loss is forgotten."""
    bus = stdevents.Bus(name, interval=0)
    ear = Ear(bus)
    remove_all(name)
    with open(folder_of(name), "w"):
        for call in (bus.poll, bus.stats, lambda: bus.post("test", "event")):
            with pytest.raises(stdevents.SegmentError, match="not a folder"):
                call()
    os.unlink(folder_of(name))
    bus.post("test", "event")
    bus.poll()
    assert ear.seen == [("lost", TOLD), ("event", None)]
    assert "removed while this process was on it" in caplog.text
    bus.close()


def test_a_loop_that_cannot_join_again_says_so_and_tries_again(name, caplog):
    bus = stdevents.Bus(name, interval=0.02)
    ear = Ear(bus)
    os.chmod(folder_of(name), 0o755)  # open to others
    remove_lock(name)
    while "open to other users" not in caplog.text:
        threading.Event().wait(0.01)
    os.chmod(folder_of(name), 0o700)
    assert ear.wait_for("lost") == [("lost", TOLD)]
    bus.close()


def test_a_new_bus_that_waits_where_the_old_one_dropped_is_joined_as_it_is(name, fork, eager):
    bus = stdevents.Bus(name, interval=0, overflow="drop")
    remove_all(name)

    def work(parent):
        bus.close()
        stdevents.Bus(name, interval=0, overflow="wait")
        parent.tell()
        parent.hear()

    child = fork(work)
    child.hear()
    bus.poll()
    assert settings_of(bus)["overflow"] == "wait"
    child.say()
    child.result()
    bus.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can drop its privileges")
def test_who_gave_up_the_privileges_to_make_the_bus_anew_is_told_so(name, fork, eager):
    bus = stdevents.Bus(name, interval=0)

    def work(parent):
        os.setgid(65534)
        os.setuid(65534)
        bus.poll()  # not yet: it may not even look into the folder
        parent.tell()
        parent.hear()
        with pytest.raises(stdevents.SegmentError, match="for user 0"):
            bus.poll()

    child = fork(work)
    child.hear()
    remove_all(name)
    child.say()
    child.result()
    bus.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the root folder")
def test_who_does_not_see_the_folder_any_more_stays_on_its_bus(name, fork, eager, tmp_path):
    """And notices all the same when it is removed."""
    bus = stdevents.Bus(name, interval=0)

    def work(parent):
        ear = Ear(bus)
        os.chroot(tmp_path)
        bus.post("test", "from within")
        bus.poll()
        parent.tell(ear.seen)
        parent.hear()
        assert has_its_ground(bus)
        parent.tell()
        parent.hear()
        assert not has_its_ground(bus)

    ear = Ear(bus)
    child = fork(work)
    assert child.hear() == [("from within", None)]
    bus.poll()
    assert ear.seen == [("from within", None)]
    child.say()
    child.hear()
    remove_lock(name)
    child.say()
    child.result()
    bus.poll()
    assert ear.seen[-1] == ("lost", TOLD)
    bus.close()


@pytest.mark.parametrize("call", ["post", "poll", "close"])
def test_who_is_interrupted_in_letting_go_of_a_removed_bus_does_so_later(
    watchdog, no_garbage, name, eager, call
):
    """G3, G9."""

    def interrupt():
        raise KeyboardInterrupt

    bus = stdevents.Bus()
    ear = Ear(bus)
    for at_step in at_each(interrupt):
        bus.configure(name, interval=0)
        remove_all(name)
        with contextlib.suppress(KeyboardInterrupt):
            with_steps(bus.poll, at_step, traced=is_of_letting_go)
        getattr(bus, call)(*["test", "event"][: 2 * (call == "post")])
        if call != "close":
            bus.poll()
            assert ("lost", TOLD) in ear.seen
            ear.seen.clear()
        bus.close()
        assert_removed(name)
