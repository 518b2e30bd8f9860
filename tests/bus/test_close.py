"""Close: what it waits for, and what goes on in handlers and other threads meanwhile."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from inside import closing_of
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
