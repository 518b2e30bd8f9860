"""Post and poll within one process: what is handled, in which order, and what is told of losses.

Other processes take part only where an event has to be left to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import gc
import json
import logging
import os
import random
import select
import signal
import sys
import threading
import time

import pytest
from inside import (
    ThreadLock,
    after,
    after_each_unlocking,
    before,
    closing_of,
    expire_all_keys,
    lock_file_of,
    look_at_ground,
    loop_thread_of,
    name_of,
    ring_with_interruption,
    settings_of,
    start_loop,
    wait_for_turn_with,
)
from programs import run
from state import assert_removed
from steps import at_each, with_steps

import stdevents

LONG = 60  # seconds until a wait that should end at once is given up

# A worker that takes what the ring still holds, and prints a line for each event.
LATE_WORKER = """
import contextlib, logging, sys
import stdevents

logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(message)s")
logging.getLogger("stdevents").setLevel(logging.DEBUG if "log" in sys.argv else logging.WARNING)
bus = stdevents.Bus()
bus.register(lambda data, event, source, pid: print(source, event, data))
bus.configure(sys.argv[1], start=sys.argv[2], interval=0)
with contextlib.closing(bus):
    if "unique" in sys.argv:
        bus.post("backend", "down", unique="key")
    bus.poll()
"""


def taking(length):
    """Data of an event `s`, `e` that takes `length` bytes in the ring."""
    return "x" * (length - len('["s","e",""]'))


def let_pass(seconds):
    """Wait until at least so many seconds have passed on the clock that counts for `timeout`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() <= deadline:
        time.sleep(max(0.0, deadline - time.monotonic()))


def loop_threads(name):
    return [thread for thread in threading.enumerate() if thread.name == f"stdevents {name}"]


def wait_until_in(thread, function):
    """Wait until `thread` has come to a function of that name, or has ended."""
    deadline = time.monotonic() + LONG
    while thread.is_alive() and time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident)
        while frame is not None:
            if frame.f_code.co_name == function:
                return
            frame = frame.f_back
        time.sleep(0)


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


JSON = [
    None,
    True,
    0,
    -1,
    1 << 80,
    1.5,
    1e300,
    "",
    '€ 😀 \0 " \\ \u2028',
    [],
    {},
    [[1], {"a": [None]}],
]


@pytest.mark.parametrize("data", JSON, ids=ascii)
def test_data_arrives_as_it_was_posted(bus, seen, data):
    bus.post("test", "event", data)
    bus.poll()
    assert seen == [("test", "event", data)]


def test_data_goes_through_json(bus, seen):
    bus.post("test", "event", {1: (2, 3), None: 4})
    bus.poll()
    assert seen == [("test", "event", {"1": [2, 3], "null": 4})]


def test_what_is_posted_is_the_data_of_that_moment(bus, seen):
    data = [1]
    bus.post("test", "event", data)
    data.append(2)
    bus.poll()
    assert seen == [("test", "event", [1])]


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
        posted=1, handled=1, lost=0, ignored=0, handler_errors=0, last_id=1, lag=0
    )


def test_a_local_event_of_a_handler_comes_before_the_next_broadcast_one(bus, seen):
    bus.register(lambda *_: bus.post_local("test", "local"), "test", "first")
    bus.post("test", "first")
    bus.post("test", "second")
    bus.poll()
    assert [event for _, event, _ in seen] == ["first", "local", "second"]


# -- unique ----------------------------------------------------------------------------------------


def test_two_posts_of_one_unique_key_run_once(bus, seen):
    """G4."""
    bus.configure(timeout=LONG)
    bus.post("test", "event", 1, unique="key")
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1)]
    assert bus.stats().ignored == 1


def test_after_timeout_the_next_post_of_the_key_runs_again(bus, seen):
    """G4: ignored for `timeout` seconds after the first was handled, and no longer."""
    bus.configure(timeout=0.05)
    bus.post("test", "event", 1, unique="key")
    bus.poll()
    let_pass(0.05)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1), ("test", "event", 2)]


def test_timeout_counts_from_the_handling_not_from_the_post(bus, seen):
    """G4: an event that waits longer than `timeout` for its poll still runs once."""
    bus.configure(timeout=0.05)
    bus.post("test", "event", 1, unique="key")
    let_pass(0.05)
    bus.configure(timeout=LONG)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1)]


def test_an_ignored_event_does_not_prolong_the_key(bus, seen):
    """G4: `timeout` seconds after the handled one, not after the ignored ones."""
    bus.configure(timeout=0.05)
    bus.post("test", "event", 1, unique="key")
    bus.poll()
    bus.configure(timeout=LONG)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    let_pass(0.05)
    bus.post("test", "event", 3, unique="key")
    bus.poll()
    assert seen[-1] == ("test", "event", 3)


def test_different_keys_do_not_hold_each_other_up(bus, seen):
    """G4: more keys than claim slots have to be probed for one."""
    for key in range(200):
        bus.post("test", "event", key, unique=f"key {key}")
    bus.poll()
    assert [data for _, _, data in seen] == list(range(200))


@pytest.mark.parametrize(
    ("number", "digits"), [(7, "7"), (0, "0"), (-1, "-1"), (1 << 70, str(1 << 70))]
)
def test_an_int_is_the_same_key_as_its_digits(bus, seen, number, digits):
    """G4."""
    bus.configure(timeout=LONG)
    bus.post("test", "event", "int", unique=number)
    bus.post("test", "event", "str", unique=digits)
    bus.poll()
    assert seen == [("test", "event", "int")]


def test_the_key_counts_for_all_events_of_the_bus(bus, seen):
    """G4, as the original: later events with the same `unique` are ignored, whichever they are."""
    bus.configure(timeout=LONG)
    bus.post("one", "a", unique="key")
    bus.post("two", "b", unique="key")
    bus.poll()
    assert [source for source, _, _ in seen] == ["one"]


def test_an_event_claimed_here_is_skipped_by_a_late_worker(bus, seen, name):
    """G4, C1: the mark is on the event, and holds when the key has long expired."""
    bus.configure(timeout=0.05)
    number = bus.post("backend", "down", unique="key")
    bus.poll()
    let_pass(0.05)
    printed = run(LATE_WORKER, name, "oldest", "log").splitlines()
    assert ("backend", "down", None) in seen
    assert "backend down None" not in printed
    assert f"skipping event {number} was handled by worker {os.getpid()}" in printed


def test_a_key_claimed_here_keeps_the_event_of_another_worker_from_running(bus, seen, name):
    """G4, C2: with the line that names who has the key; and then nobody else runs it either."""
    bus.configure(timeout=LONG)
    first = bus.post("backend", "down", unique="key")
    bus.poll()
    seen.clear()
    printed = run(LATE_WORKER, name, "new", "log", "unique").splitlines()
    second = first + 2  # its `started` is between the two
    assert f"skipping event {second} was handled by worker {os.getpid()}" in printed
    bus.poll()
    assert [event for _, event, _ in seen] == ["started", "stopping"]


def test_an_event_ignored_here_is_ignored_by_a_late_worker(bus, name):
    """G4, C2: for everybody, also when the key that it was ignored for has long expired."""
    bus.configure(timeout=LONG)
    handled = []
    bus.register(lambda data, *_: handled.append(data), "backend")
    bus.post("backend", "down", 1, unique="key")
    bus.post("backend", "down", 2, unique="key")
    bus.poll()
    expire_all_keys(bus)
    printed = run(LATE_WORKER, name, "oldest").splitlines()
    assert handled == [1]
    assert not any(line.startswith("backend down") for line in printed)


def test_a_worker_without_a_handler_leaves_the_event_to_one_that_has(bus, name):
    """G4: if a worker is alive to handle it, it runs."""
    bus.post("backend", "down", unique="key")
    assert bus.poll() == "done"
    assert "backend down None" in run(LATE_WORKER, name, "oldest").splitlines()


def test_who_has_no_handler_any_more_leaves_the_event_to_one_who_has(bus, name):
    """G4: it is not claimed for a handler that was held weakly, and is collected."""

    def handler(data, event, source, pid):
        pass

    bus.register_weak(handler, "backend")
    del handler
    gc.collect()
    bus.post("backend", "down", unique="key")
    bus.poll()
    assert "backend down None" in run(LATE_WORKER, name, "oldest").splitlines()


# -- amid something else ---------------------------------------------------------------------------


def test_what_a_signal_handler_posts_amid_workers_is_published(bus, seen, monkeypatch):
    ids = []
    before(monkeypatch, "the workers are listed", lambda: ids.append(bus.post("test", "signal")))
    assert len(bus.workers()) == 1
    assert ids == [bus.stats().last_id]
    bus.poll()
    assert seen == [("test", "signal", None)]


def test_what_is_posted_amid_a_claim_is_there_before_the_lock_is_free(bus, seen, monkeypatch):
    """G2: else another process would get the id that the signal handler was given."""
    ids, there = [], []
    bus.post("test", "main", unique="key")
    before(monkeypatch, "an event is claimed", lambda: ids.append(bus.post("test", "signal")))
    before(monkeypatch, "the lock is released", lambda: there.append(bus.stats().last_id))
    bus.poll()
    assert there[:1] == ids  # right before it was let go of for the first time
    assert [event for _, event, _ in seen] == ["main", "signal"]


def test_signals_while_a_lock_is_let_go_of_leave_it_free(bus, monkeypatch):
    """G5: what each of them posted is published, also what came when that was being done."""
    ids = []

    def post():
        if len(ids) < 3:
            ids.append(bus.post("test", "signal"))

    after_each_unlocking(monkeypatch, post)
    first = bus.post("test", "main")
    assert ids == [first + 1, first + 2, first + 3]
    assert bus.stats().last_id == ids[-1]
    descriptor = os.open(lock_file_of(name_of(bus)), os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_close_amid_calls_of_other_threads_raises_only_not_configured(name):
    """Neither is memory used that is gone, nor a file whose number may be another one's."""
    raised = []
    for _ in range(30):
        bus = stdevents.Bus(name, interval=0)

        def work(bus=bus):
            try:
                while True:
                    bus.post("test", "event")
                    bus.poll()
                    bus.stats()
                    bus.workers()
            except stdevents.NotConfigured:
                pass
            except Exception as error:
                raised.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.002)
        bus.close()
        for thread in threads:
            thread.join()
    assert raised == []


def test_close_at_any_line_of_another_threads_poll_does_not_break_it(watchdog, name):
    """Of a poll that looks whether the bus is there still."""
    bus = stdevents.Bus()

    def close():
        closing = threading.Thread(target=bus.close)
        closing.start()
        closing.join()

    for at_step in at_each(close):
        bus.configure(name, interval=0, wait_max=0.001)  # for the poll, which stands still
        look_at_ground(bus)
        with contextlib.suppress(stdevents.NotConfigured):
            assert with_steps(bus.poll, at_step) == "done"
    bus.close()


def test_a_turn_that_is_forgotten_at_any_line_is_given_away_all_the_same(watchdog):
    """As that of a lock is, when another thread closes the bus."""
    turn = ThreadLock()

    def take_and_give():
        for _ in range(3):
            turn.take()
            turn.give()

    def forget():
        turn.owner = {}

    for at_step in at_each(forget):
        with_steps(take_and_give, at_step)
        assert not turn.owner


def test_a_post_that_was_published_when_the_bus_was_closed_has_its_id(bus, monkeypatch):
    def close():
        monkeypatch.undo()
        closing = threading.Thread(target=bus.close)
        closing.start()
        closing.join()

    last = bus.stats().last_id
    after(monkeypatch, "the lock is released", close)
    assert bus.post("test", "event") == last + 1


def test_a_signal_handler_may_close_amid_close(bus, monkeypatch):
    def close():
        monkeypatch.undo()
        bus.close()

    before(monkeypatch, "stopping is posted", close)
    bus.close()
    assert not bus.configured()


def test_close_at_any_line_of_configure_leaves_it_open_or_closed(watchdog, name):
    """Open with its loop, and known to be; or closed without, and nothing is left (G9)."""
    bus = stdevents.Bus()
    outcomes = set()
    for at_step in at_each(bus.close):
        with_steps(lambda: bus.configure(name, interval=1000), at_step)
        outcomes.add(bus.configured())
        if bus.configured():
            assert len(loop_threads(name)) == 1
            with pytest.raises(stdevents.StdeventsError, match="has it open already"):
                stdevents.Bus(name)
            bus.close()
        for thread in loop_threads(name):
            thread.join(LONG)
        assert loop_threads(name) == []
        assert_removed(name)
    assert outcomes == {True, False}


# -- size and wrap-around --------------------------------------------------------------------------


def test_500_kib_can_be_posted_on_a_full_bus_of_1_mib(bus, seen):
    """As the original; G3: what it displaces is counted."""
    for number in range(5000):
        bus.post("test", "small", [number, "x" * 250])
    bus.post("test", "large", "x" * (500 << 10))
    bus.poll()
    assert seen[-1] == ("test", "large", "x" * (500 << 10))
    (_, lost, told), *delivered = seen
    assert lost == "lost"
    assert told["count"] + len(delivered) == 5001


def test_payloads_of_any_size_survive_the_wrap_around(name):
    """G2, P3, R3: sizes up to that of the ring, at ever other places of it."""
    chance = random.Random(4096)
    received = []
    with contextlib.closing(stdevents.Bus(name, interval=0, size=4096)) as bus:
        bus.register(lambda data, *_: received.append(data), "s")
        bus.poll()
        for _ in range(300):
            posted = []
            room = 4096
            while room > 12 and len(posted) < 16:
                length = chance.randint(0, room - 12)
                text = "".join(chance.choices("aé€😀", k=length)).encode()[:length]
                posted.append(text.decode(errors="ignore"))
                room -= len(json.dumps(["s", "e", posted[-1]], ensure_ascii=False).encode())
                bus.post("s", "e", posted[-1])
            bus.poll()
            assert received == posted
            received.clear()
        assert bus.stats().lost == 0


def test_a_payload_as_large_as_the_ring_arrives_wherever_it_begins(name):
    """P3, R3, R4: the last byte that fits."""
    received = []
    with contextlib.closing(stdevents.Bus(name, interval=0, size=4096)) as bus:
        bus.register(lambda data, *_: received.append(data), "s")
        for _ in range(3):
            bus.post("s", "e", taking(4096))
            bus.poll()
            bus.post("s", "e", taking(13))
            bus.poll()
        assert received == [taking(4096), taking(13)] * 3


# -- lost ------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(name):
    """A bus of 2048 bytes and 8 slots, and what it hands over; `started` is handled."""
    bus = stdevents.Bus(name, interval=0, size=2048)
    bus.poll()
    calls = []
    bus.register(lambda *arguments: calls.append(arguments))
    yield bus, calls
    bus.close()


@pytest.mark.parametrize("lost", [0, 1, 2, 7, 8, 9, 100])
def test_lapped_by_the_number_of_events(tiny, caplog, lost):
    """G3: `lost` is told exactly, in its place, with a WARNING and in the stats."""
    bus, calls = tiny
    ids = [bus.post("test", "event", number) for number in range(8 + lost)]
    bus.poll()
    told = {"first": 2, "last": 1 + lost, "count": lost}
    expected = [(told, "lost", "stdevents", None)] if lost else []
    expected += [(number, "event", "test", os.getpid()) for number in range(lost, 8 + lost)]
    assert calls == expected
    assert ids[-1] == bus.stats().last_id == 9 + lost
    assert (bus.stats().lost, bus.stats().handled) == (lost, 1 + 8)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == bool(lost)
    if lost:
        assert f"events 2 to {1 + lost} ({lost}) are lost" in warnings[0].getMessage()
        assert warnings[0].name == "stdevents"


@pytest.mark.parametrize(("length", "lost"), [(48, 0), (49, 1), (1048, 1), (1049, 2), (2048, 2)])
def test_lapped_by_the_size_of_events(tiny, length, lost):
    """G3, R4: to the byte; the two of 1000 begin where `started` ended, in a ring of 2048."""
    bus, calls = tiny
    for size in (1000, 1000, length):
        bus.post("s", "e", taking(size))
    bus.poll()
    sizes = [len(data) for data, event, *_ in calls if event == "e"]
    assert sizes == [len(taking(size)) for size in (1000, 1000, length)[lost:]]
    told = [data for data, event, *_ in calls if event == "lost"]
    assert told == ([{"first": 2, "last": 1 + lost, "count": lost}] if lost else [])
    assert bus.stats().lost == lost


def test_lost_is_told_after_local_events_and_before_the_next_one(tiny):
    """G3: in its place in the order."""
    bus, calls = tiny
    for _ in range(9):
        bus.post("test", "event")
    bus.post_local("test", "local")
    bus.poll()
    assert [event for _, event, *_ in calls] == ["local", "lost", *["event"] * 8]


def test_a_handler_that_outruns_the_ring_is_told_of_each_gap(tiny):
    """G3: delivered and lost are all that was posted, in ascending order."""
    bus, calls = tiny
    chance = random.Random(1)

    def post_more(data, *_):
        for _ in range(chance.randint(0, 20)):
            if bus.stats().last_id < 1000:
                bus.post("test", "event", bus.stats().last_id + 1)

    bus.register(post_more, "test", "event")
    while bus.stats().last_id < 1000:
        bus.post("test", "event", bus.stats().last_id + 1)
        bus.poll()
    bus.poll()
    told = [data for data, event, *_ in calls if event == "lost"]
    ids = []
    for data, event, *_ in calls:
        ids += range(data["first"], data["last"] + 1) if event == "lost" else [data]
    assert ids == list(range(2, 1001))
    assert bus.stats().lost == sum(gap["count"] for gap in told) > 0


def test_after_lost_the_worker_goes_on(tiny):
    """G3."""
    bus, calls = tiny
    for _ in range(20):
        bus.post("test", "event")
    bus.poll()
    calls.clear()
    bus.post("test", "next")
    bus.poll()
    assert [event for _, event, *_ in calls] == ["next"]


def test_a_unique_event_that_is_overwritten_before_it_is_claimed_is_lost(tiny):
    """G3, G4: it was read, but no one could see any more that it was claimed: it must not run."""
    bus, calls = tiny
    bus.register(lambda *_: [bus.post("test", "more") for _ in range(8)], "test", "first")
    bus.post("test", "first")
    number = bus.post("test", "one", unique="key")
    bus.post("test", "last")
    bus.poll()
    told = [data for data, event, *_ in calls if event == "lost"]
    assert told == [{"first": number, "last": number, "count": 1}]
    assert [event for _, event, *_ in calls] == ["first", "lost", "last", *["more"] * 8]


def test_more_unique_keys_than_there_is_room_for_are_warned_of(tiny, caplog):
    """G4: each runs once all the same; 8 slots of events are 8 keys."""
    bus, calls = tiny
    bus.configure(timeout=LONG)
    for key in range(8):
        bus.post("test", "event", key, unique=key)
        bus.poll()
    assert caplog.records == []
    bus.post("test", "event", 8, unique=8)
    bus.poll()
    assert [data for data, *_ in calls] == list(range(9))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "too many unique keys" in record.getMessage()


# -- late joiners ----------------------------------------------------------------------------------


def test_a_late_joiner_gets_no_replay(bus, name):
    bus.post("test", "event", 1)
    assert run(LATE_WORKER, name, "new") == "stdevents started None\n"


def test_a_late_joiner_with_oldest_gets_what_the_ring_still_holds(bus, name):
    bus.post("test", "event", 1)
    bus.post("test", "event", 2)
    assert run(LATE_WORKER, name, "oldest").splitlines() == [
        "stdevents started None",
        "test event 1",
        "test event 2",
        "stdevents started None",
    ]


def test_a_late_joiner_with_oldest_loses_nothing_to_its_own_started(tiny, name):
    """G3: that displaces the oldest event, which was there before the joiner was."""
    bus, _ = tiny
    for number in range(30):
        bus.post("test", "event", number)
    held = [f"test event {number}" for number in range(22, 30)]
    assert run(LATE_WORKER, name, "oldest").splitlines() == [*held[1:], "stdevents started None"]


# -- started and stopping --------------------------------------------------------------------------


def test_configure_posts_started_which_its_own_handlers_get(name):
    calls = []
    bus = stdevents.Bus()
    bus.register(lambda *arguments: calls.append(arguments), "stdevents", "started")
    bus.configure(name, interval=0)
    bus.poll()
    bus.close()
    assert calls == [(None, "started", "stdevents", os.getpid())]


def test_the_others_are_told_when_a_worker_starts_and_stops(bus, seen, name):
    run(LATE_WORKER, name, "new")
    bus.poll()
    events = stdevents.events
    assert [(source, event) for source, event, _ in seen] == [
        (events._source, events.started),
        (events._source, events.stopping),
    ]


# -- the log ---------------------------------------------------------------------------------------


def test_one_debug_line_an_event(bus, seen, caplog):
    caplog.set_level(logging.DEBUG, "stdevents")
    bus.configure(timeout=LONG)
    bus.post("test", "a", unique="key")
    skipped = bus.post("test", "b", unique="key")
    bus.post_local("test", "c")
    bus.poll()
    pid = os.getpid()
    assert caplog.record_tuples == [
        ("stdevents", logging.DEBUG, "handling event; source=test, event=c, pid=None"),
        ("stdevents", logging.DEBUG, f"handling event; source=test, event=a, pid={pid}"),
        ("stdevents", logging.DEBUG, f"skipping event {skipped} was handled by worker {pid}"),
    ]


def test_no_payload_is_ever_logged(tiny, caplog):
    """G6: whatever happens to the event."""
    caplog.set_level(logging.DEBUG, "stdevents")
    bus, calls = tiny
    bus.configure(timeout=LONG)
    secret = "the payload"

    def fail(data, *_):
        raise LookupError

    bus.register(fail, "test")
    bus.post_local("test", "local", secret)
    for _ in range(10):
        bus.post("test", "event", secret)
    bus.post("test", "event", secret, unique="key")
    bus.post("test", "event", secret, unique="key")
    bus.poll()
    for bad in ([secret, object()], [secret, "\ud800"], secret * 1000):
        with pytest.raises(stdevents.EncodeError) as caught:
            bus.post("test", "event", bad)
        assert secret not in str(caught.value)
    assert secret in [data for data, *_ in calls]
    assert {record.levelname for record in caplog.records} == {"DEBUG", "WARNING", "ERROR"}
    assert secret not in caplog.text


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
    wait_until_in(second, "wait")
    go_on.set()
    first.join()
    second.join()
    assert log == ["handled", "done"]


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
        posted=5, handled=3, lost=0, ignored=1, handler_errors=1, last_id=5, lag=1
    )


def test_a_lag_is_never_less_than_nothing(bus, monkeypatch):
    """Another thread may post and poll while the counts are read."""

    def between():
        monkeypatch.undo()
        bus.post("test", "event")
        bus.poll()

    after(monkeypatch, "the last id is read", between)
    assert bus.stats().lag == 0


def test_stats_are_fixed(bus):
    with pytest.raises(dataclasses.FrozenInstanceError):
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
        posted=1, handled=0, lost=0, ignored=0, handler_errors=0, last_id=1, lag=1
    )


# -- the loop --------------------------------------------------------------------------------------


def test_the_loop_delivers(name):
    arrived = threading.Event()
    with contextlib.closing(stdevents.Bus(name, interval=0.01)) as bus:
        bus.register(lambda *_: arrived.set(), "test", "event")
        bus.post("test", "event")
        assert arrived.wait(LONG)


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_the_loop_outlives_what_a_handler_raises(name, caplog, error):
    """G6: and does not sleep before it handles the next event."""
    arrived = threading.Event()

    def fail(*_):
        raise error

    with contextlib.closing(stdevents.Bus(name, interval=10 * LONG)) as bus:
        bus.register(fail, "test", "bad")
        bus.register(lambda *_: arrived.set(), "test", "good")
        bus.post_many([("test", "bad", None), ("test", "good", None)])
        assert arrived.wait(LONG)
    assert "the loop goes on after" in caplog.text


@pytest.fixture
def on_signal():
    """`on_signal(do)`: what SIGUSR1 has the main thread do, until the end of the test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda do: signal.signal(signal.SIGUSR1, lambda *_: do())
    signal.signal(signal.SIGUSR1, before)


def signal_main_thread():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)


class Slow:
    """A handler that calls `do` as soon as the main thread closes its bus, and then ends or not."""

    def __init__(self, bus, do, end=True):
        self.bus, self.do = bus, do
        self.begun, self.go = threading.Event(), threading.Event()
        if end:
            self.go.set()

    def __call__(self, *_):
        closing = closing_of(self.bus)
        self.begun.set()
        while not closing():
            time.sleep(0.001)
        self.do()
        self.go.wait(LONG)


def interrupt():
    raise KeyboardInterrupt


def test_a_close_that_is_interrupted_while_it_waits_for_a_handler_has_left(name, on_signal):
    """G9: else the bus would be open, and handle nothing."""
    bus = stdevents.Bus(name, interval=0.01, wait_max=LONG)
    on_signal(interrupt)
    slow = Slow(bus, signal_main_thread, end=False)
    bus.register(slow, "test")
    bus.post("test", "slow")
    assert slow.begun.wait(LONG)
    try:
        with pytest.raises(KeyboardInterrupt):
            bus.close()
    finally:
        slow.go.set()
    assert not bus.configured()
    with pytest.raises(stdevents.NotConfigured):
        bus.post("test", "told")


def test_stopping_is_posted_once_where_a_signal_handler_closes_in_a_close(name, bus, seen):
    program = """
import os, signal, sys, threading, time
import stdevents
from inside import closing_of

bus = stdevents.Bus(sys.argv[1], interval=0.01, wait_max=60)
signal.signal(signal.SIGUSR1, lambda *_: bus.close())
begun = threading.Event()

def slow(*_):
    closing = closing_of(bus)
    begun.set()
    while not closing():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR1)

bus.register(slow, "test")
bus.post("test", "slow")
begun.wait(60)
bus.close()
"""
    run(program, name)
    bus.poll()
    assert [event for source, event, _ in seen if source == "stdevents"] == ["started", "stopping"]


def test_a_poll_of_a_signal_handler_does_not_wait_amid_a_close(name, on_signal, watchdog):
    """A handler in another thread may close the bus, and so wait for the one that closes."""
    bus = stdevents.Bus(name, interval=0.01, wait_max=1)
    polled = []

    def poll_and_close():
        signal_main_thread()
        bus.close()

    slow = Slow(bus, poll_and_close)
    bus.register(slow, "test")
    bus.post("test", "slow")
    assert slow.begun.wait(LONG)
    on_signal(lambda: polled.append(bus.poll()))
    bus.close()
    assert polled == ["recursive"]


def test_a_close_needs_nothing_that_an_interrupted_wait_for_the_turn_has(
    name, monkeypatch, on_signal, watchdog
):
    """The handler of that signal closes, too, and so waits for this close."""
    bus = stdevents.Bus(name, interval=0, wait_max=1)
    begun, sent = threading.Event(), []

    def slow(*_):
        begun.set()
        while bus.configured():
            time.sleep(0.001)

    bus.register(slow, "test")
    on_signal(bus.close)

    class Condition(threading.Condition):
        def wait(self, timeout=None):
            outcome = super().wait(timeout)
            in_main = threading.current_thread() is threading.main_thread()
            if in_main and is_closing() and not sent:
                sent.append(True)
                os.kill(os.getpid(), signal.SIGUSR1)  # while the condition is owned again
            return outcome

    is_closing = closing_of(bus)
    wait_for_turn_with(monkeypatch, bus, Condition())
    bus.post("test", "slow")
    bus.post("test", "slow")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    assert begun.wait(LONG)
    closing = threading.Thread(target=bus.close)
    threading.Timer(0.05, closing.start).start()
    with contextlib.suppress(stdevents.NotConfigured):
        bus.poll()
    for thread in (closing, polling):
        thread.join(LONG)
        assert not thread.is_alive()
    assert sent
    assert not bus.configured()


def test_a_close_needs_nothing_that_an_interrupted_ring_has(name, monkeypatch, on_signal, watchdog):
    """The same, of the bell's lock."""
    bus = stdevents.Bus(name, interval=0, wait_max=1)
    closing = threading.Thread(target=bus.close)
    on_signal(bus.close)
    is_closing = closing_of(bus)

    def interruption():
        closing.start()
        while not is_closing():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGUSR1)

    ring_with_interruption(monkeypatch, bus, interruption)
    closing.join(LONG)
    assert not closing.is_alive()
    assert not bus.configured()


def test_the_lock_is_free_while_a_close_amid_a_post_waits_for_a_handler(
    name, monkeypatch, on_signal
):
    """G5."""
    bus = stdevents.Bus(name, interval=0.01, wait_max=1)
    lock = os.open(lock_file_of(name), os.O_RDWR)
    closed, taken = threading.Event(), []

    def take_the_lock():
        while not (taken or closed.is_set()):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken.append(not closed.is_set())
        fcntl.flock(lock, fcntl.LOCK_UN)

    slow = Slow(bus, take_the_lock)
    bus.register(slow, "test", "slow")
    bus.post("test", "slow")
    assert slow.begun.wait(LONG)
    on_signal(lambda: (bus.close(), closed.set()))

    def interrupt():
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGUSR1)

    before(monkeypatch, "an event is written", interrupt)
    with pytest.raises(stdevents.NotConfigured):
        bus.post("test", "told")
    os.close(lock)
    assert taken == [True]


def test_a_loop_that_is_started_amid_its_start_ends_the_other(name, monkeypatch):
    """As by a signal handler that closes and opens the bus."""
    start = threading.Thread.start
    started = []

    def nested(thread):
        started.append(thread)
        monkeypatch.undo()
        start_loop(bus)
        started.append(loop_thread_of(bus))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", nested)
    bus = stdevents.Bus()
    bus.configure(name, interval=10 * LONG)
    outer, inner = started
    inner.join(LONG)
    assert not inner.is_alive()
    assert outer.is_alive()
    bus.close()


def test_a_loop_that_comes_to_itself_when_the_bus_is_closed_says_nothing(name, caplog):
    bus = stdevents.Bus(name, interval=0.01, wait_max=0.05)
    inside, closed, poll = threading.Event(), threading.Event(), bus.poll
    loop = loop_thread_of(bus)

    def late():
        inside.set()
        closed.wait(LONG)
        poll()

    bus.poll = late
    inside.wait(LONG)
    bus.close()
    closed.set()
    loop.join()
    assert caplog.text == ""


def test_a_local_event_wakes_the_loop(name):
    started, arrived = threading.Event(), threading.Event()
    bus = stdevents.Bus()
    bus.register(lambda *_: started.set(), "stdevents", "started")
    bus.register(lambda *_: arrived.set(), "test", "event")
    with contextlib.closing(bus.configure(name, interval=100 * LONG)):
        assert started.wait(LONG)
        wait_until_in(*loop_threads(name), "wait")
        bus.post_local("test", "event")
        assert arrived.wait(LONG)


def test_interval_0_starts_no_thread(name):
    before = threading.enumerate()
    with contextlib.closing(stdevents.Bus(name, interval=0)):
        assert threading.enumerate() == before


# -- configure again -------------------------------------------------------------------------------


def test_interval_0_stops_the_loop_and_another_one_starts_it(name):
    with contextlib.closing(stdevents.Bus(name, wait_max=LONG)) as bus:
        assert len(loop_threads(name)) == 1
        bus.configure(interval=0)
        assert loop_threads(name) == []
        bus.configure(interval=0)
        bus.configure(interval=1.0)  # the default's value, but given
        assert len(loop_threads(name)) == 1
        bus.configure(interval=2.0)
        assert len(loop_threads(name)) == 1
    assert loop_threads(name) == []


def test_a_shorter_interval_counts_at_once(name, monkeypatch):
    """Also where no post can cut the sleep short."""
    monkeypatch.delattr(select, "epoll", raising=False)
    arrived = threading.Event()
    with contextlib.closing(stdevents.Bus(name, interval=100 * LONG)) as bus:
        bus.register(lambda *_: arrived.set(), "test", "event")
        wait_until_in(*loop_threads(name), "wait")
        bus.configure(interval=0.01)
        bus.post("test", "event")
        assert arrived.wait(LONG)


def test_settings_that_are_not_given_are_kept(name, seen, bus):
    bus.configure(timeout=LONG)
    bus.configure(name, wait_max=0.25)
    assert loop_threads(name) == []  # interval is 0 still
    bus.post("test", "event", 1, unique="key")
    let_pass(0.01)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1)]
    settings = settings_of(bus)
    assert [settings[one] for one in ("interval", "timeout", "wait_max")] == [0, LONG, 0.25]


def test_configure_again_returns_the_bus_and_posts_nothing(bus, name):
    assert bus.configure() is bus
    assert bus.configure(name) is bus
    assert bus.configure(timeout=1) is bus
    assert bus.stats().last_id == 1


# -- close -----------------------------------------------------------------------------------------


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
    wait_until_in(closing, "end" if interval else "wait")
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


# -- more than one bus -----------------------------------------------------------------------------


def test_two_buses_in_one_process_do_not_meet(bus, seen, name):
    with contextlib.closing(stdevents.Bus(f"{name}-2", interval=0)) as other:
        other_seen = []
        other.register(lambda data, *_: other_seen.append(data), "test")
        bus.post("test", "event", 1)
        other.post("test", "event", 2)
        other.poll()
        bus.poll()
        assert (seen, other_seen) == ([("test", "event", 1)], [2])


def test_one_bus_may_post_to_another_from_its_handler(bus, name):
    with contextlib.closing(stdevents.Bus(f"{name}-2", interval=0)) as other:
        arrived = []
        bus.register(lambda data, *_: (other.post("test", "event", data), other.poll()), "test")
        other.register(lambda data, *_: arrived.append(data), "test")
        bus.post("test", "event", 1)
        bus.poll()
        assert arrived == [1]


def test_a_bus_is_opened_once_in_a_process(bus, name):
    with pytest.raises(stdevents.StdeventsError, match=name):
        stdevents.Bus(name)
    with pytest.raises(stdevents.StdeventsError, match=name):
        stdevents.configure(name)
    assert not stdevents.configured()
    assert bus.post("test", "event") == 2
    bus.close()
    stdevents.Bus(name, interval=0).close()


def test_the_functions_of_the_module_are_those_of_one_bus(name):
    calls = []

    @stdevents.on("test", "event")
    def handle(*arguments):
        calls.append(arguments)

    try:
        assert not stdevents.configured()
        assert stdevents.configure(name, interval=0).configured()
        assert stdevents.configured()
        assert stdevents.post("test", "event", 1) == 2
        assert stdevents.post_local("test", "event", 2) is None
        assert stdevents.poll() == "done"
        assert stdevents.stats().handled == 2
        assert stdevents.close() is None
        assert [data for data, *_ in calls] == [2, 1]
    finally:
        assert stdevents.unregister(handle, "test", "event")


def test_a_bus_says_which_it_is(bus, name):
    assert repr(bus) == f"<Bus '{name}'>"
    bus.close()
    assert repr(bus) == "<Bus, closed>"
