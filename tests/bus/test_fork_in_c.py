"""G7: a child that C code forks, which no hook tells of it, becomes a worker at its first call."""

from __future__ import annotations

import os

import pytest
from seen import everything_from
from state import assert_sound

POSTS = 300


@pytest.mark.parametrize("call", ["post", "poll", "workers", "stats"])
def test_each_call_makes_it_a_worker_of_its_own(bus, fork_in_c, call):
    """G7: with a slot and files of its own."""

    def first_call(parent):
        getattr(bus, call)(*("test", "event") if call == "post" else ())
        return {worker.pid: worker.slot for worker in bus.workers()}

    child = fork_in_c(first_call)
    slots = child.result()
    assert set(slots) == {os.getpid(), child.pid}
    assert len(set(slots.values())) == 2


def test_its_descriptor_to_wait_for_is_its_own(bus, fork_in_c):
    """G7: its copy of its parent's would take from that what it hears."""
    bus.fileno()

    def work(parent):
        bus.fileno()
        parent.tell()
        parent.hear()

    child = fork_in_c(work)
    child.hear()
    assert {worker.pid for worker in bus.workers()} == {os.getpid(), child.pid}
    child.say()
    child.result()


def test_what_it_posts_says_that_it_is_its_own(bus, fork_in_c):
    """G7: the text of known names was made under its parent's pid."""
    pids = []
    bus.post("test", "event")
    bus.poll()
    bus.register(lambda data, event, source, pid: pids.append(pid), "test")
    child = fork_in_c(lambda parent: bus.post("test", "event"))
    child.result()
    bus.poll()
    assert pids == [child.pid]


def test_it_has_the_handlers_and_the_position_of_its_parent(bus, fork_in_c):
    """G7."""
    seen = everything_from(bus, "test")
    bus.post("test", "event", "handled by the parent")
    bus.poll()
    bus.post("test", "event", "not yet")

    def work(parent):
        bus.poll()
        return seen

    assert fork_in_c(work).result()[1:] == ["not yet"]
    bus.poll()
    assert seen == ["handled by the parent", "not yet"]


def test_both_post_at_once_and_no_id_is_given_twice(bus, name, fork_in_c):
    """G1, G2, G7."""
    bus.configure(wait_max=30)
    seen = everything_from(bus, "test")

    def post_all(who):
        return [bus.post("test", "event", (who, number)) for number in range(POSTS)]

    def work(parent):
        parent.hear()
        return post_all("child")

    child = fork_in_c(work)
    child.say()
    mine = post_all("parent")
    theirs = child.result()
    assert len({*mine, *theirs}) == 2 * POSTS
    assert_sound(name)
    bus.poll()
    for who in ("parent", "child"):
        assert [number for poster, number in seen if poster == who] == list(range(POSTS))


def test_it_can_close_without_taking_the_bus_from_its_parent(bus, fork_in_c):
    """G7, G9: whether it has called before or not."""

    def work(parent):
        bus.close()
        return bus.configured()

    def work_later(parent):
        bus.post("test", "event")
        return work(parent)

    for child in (fork_in_c(work), fork_in_c(work_later)):
        assert child.result() is False
    bus.post("test", "event")
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]
