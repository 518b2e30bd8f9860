"""Who waits by `fileno` is never deaf, whatever happens to posters, polls, files, or the bus."""

from __future__ import annotations

import os
import select
import signal

import pytest
from children import SECONDS
from inside import (
    Listener,
    act_in_its_ring,
    bell_of,
    look_at_ground,
    look_at_ground_always,
    remove_folder,
    remove_memory,
    when_it_has_heard,
)
from outside import Late, Raising
from seen import everything_from

import stdevents

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")


def is_readable(bus, seconds=SECONDS):
    return bool(select.select([bus.fileno()], [], [], seconds)[0])


def be_silent(bus):
    """Poll until nothing is new."""
    while is_readable(bus, 0):
        bus.poll()


# -- posters ---------------------------------------------------------------------------------------


def post_and_get(bus, signal_number):
    """Post, and get this signal right before the bell is rung."""

    def work(parent):
        bus.poll()  # it is a worker by now
        act_in_its_ring(bus, lambda: os.kill(os.getpid(), signal_number))
        parent.tell()
        parent.hear()
        bus.post("test", "its own")

    return work


def test_the_post_after_one_that_was_killed_while_it_rang_wakes(bus, seen, fork):
    """G5, W4: RINGING tells the next poster; the event of the killed one is there, too."""
    child = fork(post_and_get(bus, signal.SIGKILL))
    child.hear()
    be_silent(bus)
    seen.clear()
    child.say()
    child.wait()
    bus.post("test", "next")
    assert is_readable(bus)
    be_silent(bus)
    assert [event for _, event, _ in seen] == ["its own", "next"]


def test_posts_while_one_is_stopped_as_it_rings_are_refused_and_then_wake(bus, seen, fork):
    """G5, W4: the stopped one has the lock."""
    bus.configure(wait_max=0.01)
    child = fork(post_and_get(bus, signal.SIGSTOP))
    child.hear()
    be_silent(bus)
    seen.clear()
    child.say()
    child.wait_until_stopped()
    with pytest.raises(stdevents.LockTimeout):
        bus.post("test", "refused")
    child.go_on()
    assert is_readable(bus)
    assert child.result() is None
    be_silent(bus)
    bus.post("test", "next")
    assert is_readable(bus)
    be_silent(bus)
    assert [event for _, event, _ in seen if event != "stopping"] == ["its own", "next"]


# -- its own polls ---------------------------------------------------------------------------------


def test_a_poll_that_is_interrupted_after_it_heard_leaves_it_readable(bus, monkeypatch):
    """G5: what was heard is not heard again, and nobody rings who sleeps for all they know."""
    seen = everything_from(bus, "test")
    be_silent(bus)
    handler = signal.signal(signal.SIGUSR1, Raising())
    try:
        bus.post("test", "event", 0)
        when_it_has_heard(monkeypatch, lambda: signal.raise_signal(signal.SIGUSR1))
        with pytest.raises(Late):
            bus.poll()
        monkeypatch.undo()
        assert seen == []
        assert is_readable(bus)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    be_silent(bus)
    assert seen == [0]
    bus.post("test", "event", 1)
    assert is_readable(bus)
    be_silent(bus)
    assert seen == [0, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_poll_that_a_handler_ends_leaves_it_readable(bus, error):
    """G5: the events after it are due."""
    seen = everything_from(bus, "test")

    @bus.on("test", "end")
    def end(*_):
        raise error

    be_silent(bus)
    bus.post("test", "end", 0)
    bus.post("test", "event", 1)
    with pytest.raises(error):
        bus.poll()
    assert seen == [0]
    assert is_readable(bus)
    be_silent(bus)
    assert seen == [0, 1]


def test_a_wait_that_is_closed_by_another_thread_ends_and_raises_nothing(bus):
    """G5: as of the loop of an interrupted start, or of a poll while the bus is closed."""
    listener = Listener(bell_of(bus))
    listener.wake()
    assert listener.wait(SECONDS) is True
    listener.close()
    assert listener.wait(SECONDS) is False


# -- its files -------------------------------------------------------------------------------------


def test_a_worker_that_waits_comes_back_after_its_files_were_closed(bus, fork):
    """G5: no call raises, nothing is lost, and what is asked for anew is readable again."""

    def work(parent):
        seen = everything_from(bus, "test")
        be_silent(bus)
        parent.close_other_files()
        for number in range(3):
            bus.post("test", "event", number)
            assert is_readable(bus)
            be_silent(bus)
        assert bus.stats().lost == 0
        return seen

    assert fork(work).result() == [0, 1, 2]


def test_a_descriptor_that_is_asked_for_again_is_open(bus, fork):
    """Whatever other code has closed, and before any other call."""

    def work(parent):
        be_silent(bus)
        parent.close_other_files()
        be_silent(bus)

    fork(work).result()


def test_no_descriptor_that_got_the_number_of_its_own_hears_of_the_bell(bus, fork):
    """DESIGN 5: another epoll may have it by then, which is somebody else's."""

    def work(parent):
        be_silent(bus)
        number = bus.fileno()
        parent.close_other_files()
        other = select.epoll()
        if other.fileno() != number:
            os.dup2(other.fileno(), number)
        bus.post("test", "event")
        assert is_readable(bus)
        heard = select.epoll.fromfd(number).poll(0)
        be_silent(bus)
        return heard, bus.fileno() != number

    assert fork(work).result() == ([], True)


# -- its bus ---------------------------------------------------------------------------------------


def test_a_worker_that_waits_hears_when_others_have_made_its_bus_anew(bus, name, fork, seen):
    """G3, G5: the first one that notices rings the bell of the bus that was removed."""

    def work(parent):
        bus.poll()
        parent.tell()
        parent.hear()
        remove_folder(name)
        remove_memory(name)
        look_at_ground(bus)
        bus.post("test", "on the new one")
        parent.tell()
        parent.hear()

    child = fork(work)
    child.hear()
    be_silent(bus)
    seen.clear()
    number = bus.fileno()
    child.say()
    child.hear()
    assert select.select([number], [], [], SECONDS)[0]
    bus.poll()
    assert ("stdevents", "lost", {"first": None, "last": None, "count": None}) in seen
    assert ("test", "on the new one", None) in seen
    be_silent(bus)
    child.say()
    child.result()


def test_a_worker_that_only_posts_notices_that_its_bus_was_removed(bus, name, fork, monkeypatch):
    """G3: what it posts then reaches those that are on the bus now."""
    bus.post("test", "on the old one")
    remove_folder(name)
    remove_memory(name)

    def work(parent):
        bus.close()
        new = stdevents.Bus(name, interval=0)
        seen = everything_from(new, "test")
        parent.tell()
        parent.hear()
        new.poll()
        new.close()
        return seen

    child = fork(work)
    child.hear()
    look_at_ground_always(monkeypatch)
    look_at_ground(bus)
    bus.post("test", "on the new one", 1)
    assert len(bus.workers()) == 2
    child.say()
    assert child.result() == [1]
