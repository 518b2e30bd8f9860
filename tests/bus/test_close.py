"""Close: what it waits for, and what goes on in handlers and other threads meanwhile."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time

import pytest
from inside import before, closing_of, wait_for_idle_loops
from state import assert_removed
from steps import at_each, interrupt, with_steps
from waiting import LONG, loop_threads, wait_until_in

import stdevents


def test_close_twice_is_fine(bus):
    assert bus.configured()
    assert bus.close() is None
    assert bus.close() is None
    assert not bus.configured()


@pytest.mark.parametrize("interval", [0, 0.01])
def test_close_waits_for_the_handler_of_another_thread_and_for_no_more(bus, name, interval):
    """Whether that thread is the loop's, or polls by hand."""
    inside, may_go_on = threading.Event(), threading.Event()
    log = []

    def handler(data, event, source, pid):
        inside.set()
        may_go_on.wait(LONG)
        log.append(event)

    bus.configure(wait_max=LONG)
    bus.register(handler, "test")
    bus.post("test", "first")
    bus.post("test", "second")
    polling = threading.Thread(target=bus.poll)
    if interval:
        bus.configure(interval=interval)
    else:
        polling.start()
    assert inside.wait(LONG)
    closing = threading.Thread(target=lambda: (bus.close(), log.append("closed")))
    closing.start()
    wait_until_in(closing, "end" if interval else "wait_for_handlers")
    may_go_on.set()
    closing.join()
    if not interval:
        polling.join()
    assert log == ["first", "closed"]


def test_close_waits_no_longer_than_wait_max(bus):
    """Here for a handler that itself waits for it."""
    inside, closed = threading.Event(), threading.Event()
    bus.configure(wait_max=0.05)
    bus.register(lambda *_: (inside.set(), closed.wait(LONG)), "test")
    bus.post("test", "event")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    assert inside.wait(LONG)
    bus.close()
    assert not bus.configured() and polling.is_alive()
    closed.set()
    polling.join()


@pytest.mark.parametrize("interval", [0, 0.01])
def test_close_names_the_handler_that_it_does_not_wait_for(bus, caplog, monkeypatch, interval):
    """DESIGN 3: by source, event and id, and never by its data; the handler goes on."""
    wait_for_idle_loops(monkeypatch, 10 * LONG)
    inside, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    bus.configure(wait_max=10 * LONG)

    def handler(*_):
        inside.set()
        may_end.wait(LONG)
        ended.set()

    bus.register(handler, "test")
    number = bus.post("test", "long", "secret")
    if interval:
        bus.configure(interval=interval)
    else:
        threading.Thread(target=bus.poll).start()
    assert inside.wait(LONG)
    bus.close(wait=0.01)
    assert not bus.configured()
    (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert f"source=test, event=long, event id {number}" in warning.getMessage()
    assert "after 0.01 s" in warning.getMessage()
    assert "secret" not in caplog.text
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(LONG)


def test_close_names_lost_where_that_is_what_it_does_not_wait_for(tiny, caplog):
    bus, _ = tiny
    inside, may_end = threading.Event(), threading.Event()
    bus.register(lambda *_: (inside.set(), may_end.wait(LONG)), "stdevents", "lost")
    for _ in range(200):
        bus.post("test", "event")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    assert inside.wait(LONG)
    bus.close(wait=0.01)
    may_end.set()
    polling.join()
    assert "source=stdevents, event=lost" in caplog.messages[-1]


def test_close_waits_as_long_as_it_is_told_to(bus, caplog):
    """Longer than `wait_max`, and says nothing of what ends in time."""
    inside, may_end = threading.Event(), threading.Event()
    bus.register(lambda *_: (inside.set(), may_end.wait(LONG)), "test")
    bus.post("test", "event")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    assert inside.wait(LONG)
    bus.configure(wait_max=1e-9)
    closing = threading.Thread(target=bus.close, args=(LONG,))
    closing.start()
    wait_until_in(closing, "_wait")
    assert closing.is_alive()
    may_end.set()
    closing.join()
    polling.join()
    assert not bus.configured()
    assert caplog.messages == []


@pytest.mark.parametrize("interval", [0, 1000])
def test_a_close_that_is_interrupted_at_any_line_is_ended_by_the_next(
    watchdog, monkeypatch, name, interval
):
    """G5, G9: no worker is left that the process cannot get rid of, and no thread."""
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: None)  # during a finaliser
    bus = stdevents.Bus()
    for at_step in at_each(interrupt):
        bus.configure(name, interval=interval, size="16k")
        with contextlib.suppress(KeyboardInterrupt):
            with_steps(bus.close, at_step)
        bus.close()
        assert not bus.configured()
        for thread in loop_threads(name):
            thread.join(LONG)
        assert loop_threads(name) == []
        assert_removed(name)


def test_a_close_that_is_interrupted_holds_up_nobody_after_the_next(bus, name, fork, monkeypatch):
    """G5, G9: a worker that never polls would, where nothing is overwritten."""

    def work(parent):
        bus.close()
        other = stdevents.Bus(f"{name}-w", interval=0, overflow="wait", size=1024, shm_retries=9)
        parent.tell()
        parent.hear()
        for number in range(20):
            other.poll()
            other.post("test", "event", number)
        other.close()

    child = fork(work)
    child.hear()
    mine = stdevents.Bus(f"{name}-w", interval=0)
    before(monkeypatch, "the bus is left", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mine.close()
    monkeypatch.undo()
    mine.close()
    child.say()
    child.result()


def test_a_handler_may_close_while_another_thread_that_closes_waits_for_it(bus):
    bus.configure(wait_max=0.05)
    inside, may_close = threading.Event(), threading.Event()
    bus.register(lambda *_: (inside.set(), may_close.wait(LONG), bus.close()), "test")
    bus.post("test", "event")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    assert inside.wait(LONG)
    closing = threading.Thread(target=bus.close)
    closing.start()
    wait_until_in(closing, "wait")
    may_close.set()
    closing.join()
    polling.join()
    assert not bus.configured()


def test_a_signal_handler_may_close_during_a_handler(bus, watchdog):
    """It waits for no thread that waits for it: the poll is its own thread's."""
    bus.configure(wait_max=10 * LONG)
    before = signal.signal(signal.SIGUSR1, lambda *_: bus.close())
    log = []

    @bus.on("test")
    def handler(data, event, source, pid):
        signal.raise_signal(signal.SIGUSR1)
        log.append(event)

    try:
        bus.post("test", "first")
        bus.post("test", "second")
        bus.poll()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert log == ["first"]
    assert not bus.configured()


def test_a_bus_that_was_never_opened_can_be_closed():
    stdevents.Bus().close()


def test_after_close_the_bus_can_be_opened_again_and_keeps_its_handlers(bus, seen, name):
    """G9: the last worker removed it, so that it begins with 1 again."""
    bus.post("test", "not polled")
    bus.post_local("test", "not polled")
    bus.close()
    bus.configure(name, interval=0)
    assert bus.stats().last_id == 1
    bus.post("test", "event")
    bus.poll()
    assert [event for _, event, _ in seen] == ["started", "event"]


@pytest.mark.parametrize("post", ["post", "post_local"])
def test_close_inside_a_handler_ends_the_poll(bus, seen, post):
    bus.register(lambda *_: bus.close(), "test", "first")
    getattr(bus, post)("test", "first")
    getattr(bus, post)("test", "second")
    bus.post("test", "third")
    assert bus.poll() == "done"
    assert [event for _, event, _ in seen] == ["first"]
    with pytest.raises(stdevents.NotConfigured):
        bus.poll()


def test_with_closes_the_bus_at_its_end(name):
    with stdevents.Bus(name, interval=0) as bus:
        bus.post("test", "told")
    assert not bus.configured()
    with pytest.raises(KeyError), bus.configure(name):
        raise KeyError
    assert not bus.configured()


def test_close_inside_a_handler_of_the_loop_ends_the_loop(name):
    closed = threading.Event()
    bus = stdevents.Bus(name, interval=0.01)

    def close(*_):
        bus.close()
        closed.set()

    (thread,) = loop_threads(name)
    bus.register(close, "test")
    bus.post("test", "event")
    assert closed.wait(LONG)
    thread.join(LONG)
    assert not thread.is_alive()


def test_configure_inside_a_handler_opens_the_bus_anew(bus, seen, name):
    def reopen(*_):
        bus.close()
        bus.configure(name, interval=0)

    bus.register(reopen, "test", "reopen")
    bus.post("test", "reopen")
    bus.post("test", "of the old bus")
    bus.poll()
    bus.poll()
    assert [event for _, event, _ in seen] == ["reopen", "started"]


def test_a_post_in_a_handler_does_not_wait_for_a_close_that_does(bus, watchdog):
    """Else the close would last as long as it may, and then cut the handler off."""
    in_handler, is_closing, raised = threading.Event(), closing_of(bus), []

    def handler(data, event, source, pid):
        in_handler.set()
        while not is_closing():
            time.sleep(0)
        try:
            bus.post("test", "late")
        except stdevents.NotConfigured as error:
            raised.append(error)

    bus.register(handler, "test")
    bus.post("test", "event")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    in_handler.wait()
    bus.close(wait=LONG * 10)
    assert len(raised) == 1
    polling.join()
