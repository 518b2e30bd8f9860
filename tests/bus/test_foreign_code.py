"""Foreign code, which is handlers and what logs: never under the lock; what it does harms no other.

Logging has handlers of the program's: they may block, raise, or post.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os

import pytest
from inside import append, before, lock_file_of, name_of
from seen import Seen
from state import is_locked
from waiting import LONG

import stdevents

LOGGER = logging.getLogger("stdevents")


class LogHandler(logging.Handler):
    """One that does something with each line."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def emit(self, record):
        self.action(record)


@contextlib.contextmanager
def logging_to(action, level=logging.DEBUG):
    handler, was = LogHandler(action), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(was)


def fail(*_):
    raise LookupError


# -- what is logged --------------------------------------------------------------------------------


def handled(bus):
    bus.post("test", "event")
    bus.poll()


def handler_failed(bus):
    bus.register(fail, "test")
    bus.post("test", "event")
    bus.post_local("test", "event")
    bus.poll()


def overwritten(bus):
    for _ in range(100):
        bus.post("test", "event")
    bus.poll()


def damaged(bus):
    append(bus, b"no event,")
    bus.poll()


def key_held(bus):
    for _ in range(2):
        bus.post("test", "event", unique="key")
    bus.poll()


def too_many_keys(bus):
    for number in range(9):
        bus.post("test", "event", unique=number)
        bus.poll()


def nested_post_dropped(bus):
    def post():
        patch.undo()
        assert bus.post("test", "event", "x" * 5000) == 0

    with pytest.MonkeyPatch.context() as patch:
        before(patch, "an event is written", post)
        bus.post("test", "event")


def another_size(bus):
    bus.configure(size=4096)


SITUATIONS = {
    handled: "handling event; source=test",
    handler_failed: "event callback failed",
    overwritten: "are lost, overwritten",
    damaged: "are not written as events are",
    key_held: "was handled by worker",
    too_many_keys: "too many unique keys",
    nested_post_dropped: "is dropped",
    another_size: "already exists with size=2048",
}


@pytest.fixture
def bus(name):
    """A bus of 2048 bytes and 8 slots that is polled by hand."""
    bus = stdevents.Bus(name, size=2048, interval=0, timeout=LONG)
    bus.poll()
    yield bus
    bus.close()


@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_is_logged_under_the_lock(bus, name, situation):
    """G5: else a log that blocks would hold up the workers of the whole host."""
    Seen(bus)
    said, locked = [], []

    def note(record):
        said.append(record.getMessage())
        locked.append(is_locked(name))

    with logging_to(note):
        situation(bus)
    assert any(SITUATIONS[situation] in message for message in said)
    assert not any(locked)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_logging_that_raises_changes_nothing(bus, situation):
    """G3, G6: `lost` is told, handlers are called, and counts are what they are without it."""
    seen = Seen(bus)
    situation(bus)
    expected, counts = seen[:], bus.stats()
    again = stdevents.Bus(f"{name_of(bus)}-again", size=2048, interval=0, timeout=LONG)
    with contextlib.closing(again):
        again.poll()
        seen = Seen(again)
        raised = []

        def away(record):
            raised.append(record)
            raise ConnectionError("the log server is away")

        with logging_to(away):
            situation(again)
        assert raised
        assert (seen, again.stats()) == (expected, counts)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_logging_that_posts_posts(bus, situation):
    """G1, G6: with an id, so not under the lock; and it comes to its end."""
    seen = Seen(bus)
    ids = []

    def post(record):
        if len(ids) < 3:
            ids.append(bus.post("log", "line"))

    with logging_to(post):
        situation(bus)
        bus.poll()
    assert ids and all(ids) and ids == sorted(set(ids))
    assert [event for event, *_ in seen].count("line") == len(ids)


def test_a_log_that_blocks_holds_up_no_other_worker(bus, fork):
    """G5: it is the log of one process, and the bus is everybody's."""

    def work(parent):
        bus.register(lambda *_: None, "test")

        def block(record):
            parent.tell(record.getMessage())
            parent.hear()

        with logging_to(block, logging.WARNING):
            too_many_keys(bus)

    bus.configure(wait_max=0.01)
    child = fork(work)
    assert "too many unique keys" in child.hear()
    number = bus.post("other", "event")
    bus.poll()
    assert bus.stats().last_id == number and bus.stats().lag == 0
    child.kill()


# -- handlers --------------------------------------------------------------------------------------


def test_no_handler_runs_under_the_lock(bus, name):
    """G5: of plain events, of those with `unique`, of local ones, of `lost`."""
    found = []
    bus.register(lambda data, event, source, pid: found.append((event, is_locked(name))))
    for _ in range(100):
        bus.post("test", "overwritten")
    bus.post("test", "plain")
    bus.post("test", "unique", unique="key")
    bus.post_local("test", "local")
    bus.poll()
    assert {event for event, _ in found} == {"local", "lost", "overwritten", "plain", "unique"}
    assert not any(locked for _, locked in found)


def test_a_handler_of_lost_may_post_and_claim_its_way_out(bus):
    """G3, G5: what it posts comes after all that is there."""
    seen = Seen(bus)
    bus.register(lambda *_: bus.post("test", "reset", unique="reset"), "stdevents", "lost")
    overwritten(bus)
    assert [event for event, *_ in seen] == ["lost", *["event"] * 7, "reset"]


# -- before the lock -------------------------------------------------------------------------------


class Loud(dict):
    """Data whose items are made by code of the program's."""

    def __init__(self, action):
        super().__init__(key="value")
        self.action = action

    def items(self):
        self.action()
        return super().items()


def test_data_is_written_as_json_before_the_lock(bus, name):
    """P: foreign code, too, and it may take long."""
    locked = []
    loud = Loud(lambda: locked.append(is_locked(name)))
    bus.post("test", "event", loud)
    bus.post_many([("test", "event", loud), ("test", "event", loud)])
    assert locked and not any(locked)


@pytest.mark.parametrize("fail", [lambda: int("x"), b"\xff".decode, lambda: next(iter(()), 1) + ""])
def test_data_whose_own_code_fails_is_not_json(bus, fail):
    """Also where the message is looked for, which calls it once more."""
    with pytest.raises(stdevents.EncodeError, match="^event 'event' of source 'test': data cannot"):
        bus.post("test", "event", Loud(fail))
    with pytest.raises(stdevents.EncodeError, match=r"^events\[1\]: event 'event' of source"):
        bus.post_many([("test", "event", 1), ("test", "event", Loud(fail))])
    assert bus.stats().last_id == 1  # started


def test_another_failure_of_its_own_code_is_raised_as_it_is(bus):
    def fail():
        raise LookupError("the row is gone")

    with pytest.raises(LookupError, match="^'?the row is gone"):
        bus.post("test", "event", Loud(fail))
    with pytest.raises(LookupError, match="^'?the row is gone"):
        bus.post_many([("test", "event", Loud(fail))])
    assert bus.stats().last_id == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("test", "event", object()), stdevents.EncodeError),
        (("test", 7), TypeError),
        (("", "event"), ValueError),
        (("test", "event", None, True), TypeError),
    ],
)
def test_what_is_refused_is_refused_without_the_lock(bus, name, arguments, error):
    """P, G5: at once, though another process has it and is stopped."""
    bus.configure(wait_max=LONG)
    lock = os.open(lock_file_of(name), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(error):
            bus.post(*arguments)
        with pytest.raises(error):
            bus.post_many([arguments if len(arguments) > 2 else (*arguments, None)])
    finally:
        os.close(lock)
