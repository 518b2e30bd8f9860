"""A poll, from a handler and from several threads, and what is counted of it."""

from __future__ import annotations

import threading

import pytest
from inside import (
    after,
)
from waiting import LONG, wait_until_in

import stdevents

# -- poll ------------------------------------------------------------------------------------------


def test_poll_inside_a_handler_does_nothing(bus, seen):
    results = []
    bus.register(lambda *_: results.append(bus.poll()), "test", "first")
    bus.post("test", "first")
    bus.post("test", "second")
    assert bus.poll() == "done"
    assert results == ["recursive"]
    assert [event for _, event, _ in seen] == ["first", "second"]


def test_poll_inside_the_handler_of_the_last_event_is_recursive_too(bus):
    results = []
    bus.register(lambda *_: results.append(bus.poll()), "test")
    bus.post_local("test", "event")
    bus.poll()
    assert results == ["recursive"]


def test_what_a_handler_posts_is_handled_by_the_same_poll(bus, seen):
    def post_more(*_):
        bus.post("test", "broadcast")
        bus.post_local("test", "local")

    bus.register(post_more, "test", "first")
    bus.post("test", "first")
    assert bus.poll() == "done"
    assert [event for _, event, _ in seen] == ["first", "local", "broadcast"]


@pytest.mark.parametrize("post", ["post", "post_local"])
def test_a_handler_that_posts_itself_does_not_keep_poll_for_ever(bus, post):
    bus.register(lambda *_: getattr(bus, post)("test", "again"), "test")
    getattr(bus, post)("test", "again")
    assert bus.poll() == "done"
    bus.post("other", "event")
    handled = []
    bus.register(lambda *_: handled.append(1), "other")
    assert bus.poll() == "done"
    assert handled == [1]


@pytest.mark.parametrize("news", [True, False])
def test_poll_waits_for_the_poll_of_another_thread(bus, news):
    inside, go_on = threading.Event(), threading.Event()
    log = []

    def slow(*_):
        inside.set()
        go_on.wait(LONG)
        log.append("handled")

    bus.register(slow, "test", "slow")
    bus.post("test", "slow")
    first = threading.Thread(target=bus.poll)
    second = threading.Thread(target=lambda: log.append(bus.poll()))
    first.start()
    assert inside.wait(LONG)
    if news:
        bus.post("test", "other")
    second.start()
    wait_until_in(second, "_wait")
    go_on.set()
    first.join()
    second.join()
    assert log == ["handled", "done"]


@pytest.fixture
def in_handler(bus):
    """The bus, while another thread is in a handler of its poll; and what ends that."""
    inside, may_end = threading.Event(), threading.Event()
    bus.register(lambda *_: (inside.set(), may_end.wait(LONG)), "test", "long")
    bus.post("test", "long")
    thread = threading.Thread(target=bus.poll)
    thread.start()
    assert inside.wait(LONG)

    def end():
        may_end.set()
        thread.join()

    yield bus, end
    end()


@pytest.mark.parametrize("wait", [0, 0.001])
def test_poll_says_busy_when_another_thread_polls_for_longer(in_handler, seen, wait):
    """DESIGN 3: it handles nothing then; the other one does."""
    bus, end = in_handler
    bus.post("test", "short")
    assert bus.poll(wait=wait) == "busy"
    assert [event for _, event, _ in seen if event == "short"] == []
    end()
    assert bus.poll(wait=wait) == "done"
    assert [event for _, event, _ in seen if event == "short"] == ["short"]


def test_poll_waits_as_long_as_it_is_told_to(in_handler, seen):
    """DESIGN 3: and handles what is there then."""
    bus, end = in_handler
    said = []
    poller = threading.Thread(target=lambda: said.append(bus.poll(wait=LONG)))
    poller.start()
    wait_until_in(poller, "_wait")
    end()
    poller.join()
    assert said == ["done"]


def test_poll_without_another_thread_has_nothing_to_wait_for(bus, seen):
    bus.post("test", "event")
    assert bus.poll(wait=0) == "done"
    assert [event for _, event, _ in seen] == ["event"]


@pytest.mark.parametrize(
    ("wait", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_a_wait_that_is_no_number_of_seconds_is_refused(bus, wait, error):
    """By poll and close, which do nothing then."""
    for lag in (0, 1):
        for call in (bus.poll, bus.close):
            with pytest.raises(error, match="wait"):
                call(wait=wait)
        assert bus.configured() and bus.stats().lag == lag
        bus.post("test", "event")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_poll_and_the_next_goes_on_with_the_next_event(bus, seen, error):
    def interrupt(*_):
        raise error

    bus.register(interrupt, "test", "second")
    for event in ("first", "second", "third"):
        bus.post("test", event)
    with pytest.raises(error):
        bus.poll()
    assert [event for _, event, _ in seen] == ["first", "second"]
    assert bus.poll() == "done"
    assert [event for _, event, _ in seen] == ["first", "second", "third"]


def test_an_interrupt_in_a_local_event_loses_no_other(bus, seen):
    def interrupt(*_):
        raise KeyboardInterrupt

    bus.register(interrupt, "test", "first")
    bus.post_local("test", "first")
    bus.post_local("test", "second")
    bus.post("test", "third")
    with pytest.raises(KeyboardInterrupt):
        bus.poll()
    bus.poll()
    assert [event for _, event, _ in seen] == ["first", "second", "third"]


# -- stats -----------------------------------------------------------------------------------------


def test_stats_count_what_this_process_did(bus, seen):
    def fail(*_):
        raise LookupError

    bus.configure(timeout=LONG)
    bus.register(fail, "test", "a")
    bus.post("test", "a")
    bus.post("test", "b", unique="key")
    bus.post("test", "b", unique="key")
    bus.poll()
    bus.post("test", "c")
    assert bus.stats() == stdevents.Stats(
        posted=5, handled=3, unhandled=0, lost=0, ignored=1, handler_errors=1, last_id=5, lag=1
    )


def test_an_event_whose_name_is_misspelt_is_not_handled(bus):
    """Nor does it count as that where the bus's own events, as `started`, have no handler."""
    calls = []
    bus.register(lambda *event: calls.append(event), "cache", "drop")
    bus.post("cache", "drop")
    bus.post("cache", "dorp")
    bus.post("cahce", "drop", unique="key")
    bus.poll()
    stats = bus.stats()
    assert (stats.handled, stats.unhandled, len(calls)) == (2, 2, 1), "one `started`"


def test_a_lag_is_never_less_than_nothing(bus, monkeypatch):
    """Another thread may post and poll while the counts are read."""

    def between():
        monkeypatch.undo()
        bus.post("test", "event")
        bus.poll()

    after(monkeypatch, "the last id is read", between)
    assert bus.stats().lag == 0


def test_stats_are_fixed(bus):
    with pytest.raises(AttributeError):
        bus.stats().posted = 7


def test_stats_begin_again_when_the_bus_is_opened_again(bus, name):
    def fail(*_):
        raise LookupError

    bus.register(fail, "test")
    bus.post("test", "event")
    bus.poll()
    assert bus.stats().handler_errors == 1
    bus.close()
    bus.configure(name, interval=0)
    assert bus.stats() == stdevents.Stats(
        posted=1, handled=0, unhandled=0, lost=0, ignored=0, handler_errors=0, last_id=1, lag=1
    )
