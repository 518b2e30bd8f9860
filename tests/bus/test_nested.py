"""Calls of a signal handler or finaliser that interrupted a call of its thread under the lock."""

from __future__ import annotations

import gc
import os
import signal

import pytest
from inside import before
from state import is_locked
from waiting import LONG

import stdevents

STEPS = {
    "an event is written": lambda bus: bus.post("test", "outer"),
    "the workers are listed": lambda bus: bus.workers(),
    "an event is claimed": lambda bus: (bus.post("test", "outer", unique="key"), bus.poll()),
}
REFUSED = {
    "configure": lambda bus: bus.configure(interval=0),
    "workers": lambda bus: bus.workers(),
    "wait": lambda bus: bus.wait(1),
    "ask": lambda bus: bus.ask("test", "who"),
    "lead": lambda bus: bus.lead("cleaner"),
}
each_step = pytest.mark.parametrize("step", STEPS)


@pytest.fixture
def interrupt(monkeypatch):
    """`interrupt(step, do)`: a signal whose handler does `do()` comes right before the step."""
    handlers = signal.getsignal(signal.SIGUSR1)

    def interrupt(step, do):
        signal.signal(signal.SIGUSR1, lambda *_: do())

        def come():
            monkeypatch.undo()
            signal.raise_signal(signal.SIGUSR1)

        before(monkeypatch, step, come)

    yield interrupt
    signal.signal(signal.SIGUSR1, handlers)


def events_in(seen):
    return [event for source, event, _ in seen if source == "test"]


@each_step
def test_a_post_there_returns_0_and_is_published_by_that_call(bus, seen, name, interrupt, step):
    """DESIGN 3: in the order of the posts, before the call returns."""
    bus.register(lambda *_: None, "test")
    ids = []

    def post():
        ids.append(bus.post("test", "inner"))
        ids.extend(bus.post_many([("test", "inner", 1), ("test", "inner", 2)]))

    interrupt(step, post)
    STEPS[step](bus)
    assert ids == [0, 0, 0]
    assert not is_locked(name)
    before_poll = bus.stats().last_id
    bus.poll()
    assert events_in(seen)[-3:] == ["inner"] * 3
    assert [data for _, event, data in seen if event == "inner"] == [None, 1, 2]
    assert bus.stats().last_id == before_poll, "all were there when the call returned"


def test_a_post_of_a_finaliser_there_is_published_by_that_call(bus, seen, monkeypatch):
    """DESIGN 3: of garbage that is collected in the middle of a post."""
    ids = []

    class Dying:
        def __del__(self):
            ids.append(bus.post("test", "inner"))

    def collect():
        monkeypatch.undo()
        dying = Dying()
        dying.itself = dying
        del dying
        gc.collect()

    before(monkeypatch, "an event is written", collect)
    number = bus.post("test", "outer")
    assert ids == [0]
    assert bus.stats().last_id == number + 1
    bus.poll()
    assert events_in(seen) == ["outer", "inner"]


@each_step
def test_a_close_there_happens_when_that_call_ends(bus, name, interrupt, step):
    """DESIGN 3: what that call does is done."""
    bus.register(lambda *_: None, "test")
    found = []
    interrupt(step, lambda: (bus.close(), found.append(bus.configured())))
    STEPS[step](bus)
    assert found == [True]
    assert not bus.configured()
    with pytest.raises(stdevents.NotConfigured):
        bus.post("test", "event")


def test_a_post_and_a_close_there_are_both_done(bus, name, fork, interrupt):
    """In their order."""

    def work(parent):
        bus.close()
        other = stdevents.Bus(name, interval=0)
        events = []
        other.register(lambda data, event, source, pid: events.append(event))
        parent.tell()
        parent.hear()
        other.poll()
        other.close()
        return events

    child = fork(work)
    child.hear()
    interrupt("an event is written", lambda: (bus.post("test", "inner"), bus.close()))
    bus.post("test", "outer")
    assert not bus.configured()
    child.say()
    assert child.result()[-3:] == ["outer", "inner", "stopping"]


@each_step
def test_a_poll_there_is_recursive_and_the_next_one_handles(bus, seen, interrupt, step):
    """DESIGN 5: no handler runs under the lock."""
    bus.register(lambda *_: None, "test")
    bus.post("test", "before")
    said, handled = [], []
    interrupt(step, lambda: (said.append(bus.poll()), handled.extend(events_in(seen))))
    STEPS[step](bus)
    assert said == ["recursive"]
    assert handled in ([], ["before"]), "before the step, not in it"
    bus.poll()
    assert events_in(seen)[0] == "before"


@each_step
@pytest.mark.parametrize("call", REFUSED)
def test_what_needs_the_lock_at_once_is_refused_there(bus, name, interrupt, step, call):
    """DESIGN 5: it can neither wait nor be done later."""
    bus.register(lambda *_: None, "test")
    raised = []
    why = "interrupted another"
    if step == "an event is claimed" and call in ("wait", "ask"):  # that call handles events
        why = "waits for its own end"

    def do():
        with pytest.raises(stdevents.StdeventsError, match=why) as caught:
            REFUSED[call](bus)
        raised.append(type(caught.value))

    interrupt(step, do)
    STEPS[step](bus)
    assert len(raised) == 1
    assert not is_locked(name)
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]


def test_what_is_refused_when_it_is_published_is_logged(name, interrupt, caplog):
    """DESIGN 5: nobody is there to be told."""
    bus = stdevents.Bus(name, interval=0, size=1024, timeout=LONG)
    interrupt("an event is written", lambda: bus.post("test", "inner", "x" * 2000))
    number = bus.post("test", "outer")
    assert "left is dropped" in caplog.text and "x" * 10 not in caplog.text
    assert bus.stats().last_id == number
    bus.close()


def test_what_was_posted_there_is_published_though_that_call_fails(bus, seen, name, interrupt):
    """DESIGN 5: the queue is looked at also when the call ends by an exception."""

    class Late(Exception):
        pass

    def post_and_raise():
        bus.post("test", "inner")
        raise Late

    interrupt("an event is written", post_and_raise)
    with pytest.raises(Late):
        bus.post("test", "outer")
    assert not is_locked(name)
    bus.poll()
    assert events_in(seen) == ["inner"]
