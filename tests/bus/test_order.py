"""Which events are handled, and in which order, within one process."""

from __future__ import annotations

import contextlib
import os
import threading

import stdevents

# -- order -----------------------------------------------------------------------------------------


def test_local_events_come_first_and_broadcast_ones_in_order(bus, seen):
    """G1, as the original."""
    bus.post("test", "a")
    bus.post_local("test", "b")
    bus.post("test", "c")
    bus.poll()
    assert [event for _, event, _ in seen] == ["b", "a", "c"]


def test_ids_are_dense(name):
    """G2: 1, 2, 3…, `started` being the first."""
    with contextlib.closing(stdevents.Bus(name, interval=0)) as bus:
        assert bus.stats().last_id == 1
        assert [bus.post("test", "event") for _ in range(5)] == [2, 3, 4, 5, 6]


def test_threads_that_post_at_once_get_dense_ids_and_one_order(bus, seen):
    """G1, G2: what a poll hands over is in the order of the ids that the posters were given."""
    by_id = {}

    def post_some(thread):
        for number in range(50):
            by_id[bus.post("test", "event", [thread, number])] = [thread, number]

    threads = [threading.Thread(target=post_some, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bus.poll()
    assert sorted(by_id) == list(range(2, 202))
    assert [data for _, _, data in seen] == [by_id[number] for number in sorted(by_id)]


def test_the_poster_receives_its_own_event_with_its_pid(bus):
    """G1: the poster is a worker like the others."""
    calls = []
    bus.register(lambda *arguments: calls.append(arguments), "test")
    bus.post("test", "event", {"key": 1})
    assert bus.poll() == "done"
    assert calls == [({"key": 1}, "event", "test", os.getpid())]


def test_an_event_is_handled_once(bus, seen):
    bus.post("test", "event")
    bus.poll()
    bus.poll()
    assert len(seen) == 1


def test_post_only_queues(bus, seen):
    bus.post("test", "event")
    bus.post_local("test", "event")
    assert seen == []


# -- local events ----------------------------------------------------------------------------------


def test_local_data_is_the_object_itself_and_has_no_pid(bus):
    calls = []
    bus.register(lambda *arguments: calls.append(arguments))
    data = object()
    assert bus.post_local("test", "event", data) is None
    bus.poll()
    assert calls == [(data, "event", "test", None)]


def test_local_events_take_no_id_and_are_no_broadcast(bus, seen):
    bus.post_local("test", "event")
    bus.poll()
    assert len(seen) == 1
    assert bus.stats() == stdevents.Stats(
        posted=1, handled=1, unhandled=0, lost=0, ignored=0, handler_errors=0, last_id=1, lag=0
    )


def test_a_local_event_of_a_handler_comes_before_the_next_broadcast_one(bus, seen):
    bus.register(lambda *_: bus.post_local("test", "local"), "test", "first")
    bus.post("test", "first")
    bus.post("test", "second")
    bus.poll()
    assert [event for _, event, _ in seen] == ["first", "local", "second"]
