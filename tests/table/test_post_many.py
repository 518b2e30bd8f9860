"""`post_many`: several events under one lock, all of them or none."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from children import SECONDS
from inside import (
    before,
    faults_of,
    is_under_the_lock,
    length_of_text,
    may_sleep,
    note_rings,
)
from steps import at, at_each, die, sampled, with_steps

import stdevents

SIZE = 4096
SLOTS = SIZE // 256
NAMES = [("test", f"event {number}", number) for number in range(5)]


def test_they_are_handled_in_order_under_the_ids_that_are_returned(bus, seen):
    """G1."""
    before = bus.post("test", "before")
    assert bus.post_many(NAMES) == list(range(before + 1, before + 6))
    assert bus.post("test", "after") == before + 6
    bus.poll()
    assert seen == [("test", "before", None), *NAMES, ("test", "after", None)]
    assert bus.stats().posted == bus.stats().handled == before + 6


def test_none_are_nothing(bus):
    before = bus.stats()
    assert bus.post_many([]) == []
    assert bus.stats() == before


def test_any_iterable_of_tuples_and_lists_will_do(bus, seen):
    bus.post_many(list(event) for event in NAMES)
    bus.poll()
    assert seen == NAMES


def test_the_function_of_the_package(name, bus):
    bus.close()
    stdevents.configure(name, interval=0)
    last = stdevents.stats().last_id
    assert stdevents.post_many(NAMES[:2]) == [last + 1, last + 2]


def test_one_of_them_may_be_unique(bus, seen):
    """G4: also among themselves."""
    bus.post_many(
        [
            ("test", "one", 1, "key"),
            ("test", "one", 2, "key"),
            ("test", "all", 3, None),
            ("test", "one", 4, 77),
        ]
    )
    bus.poll()
    assert [data for _, _, data in seen] == [1, 3, 4]
    assert bus.stats().ignored == 1


def test_another_process_gets_them(bus, fork):
    handled = []
    bus.register(lambda data, event, source, pid: handled.append((data, pid)), "test")
    child = fork(lambda parent: bus.post_many(NAMES))
    ids = child.result()
    bus.poll()
    assert handled == [(number, child.pid) for number in range(5)]
    assert len(ids) == 5


def test_sleepers_are_woken_once(bus):
    """W4."""
    rung = note_rings(bus)
    may_sleep(bus)
    bus.post_many(NAMES)
    assert rung == [1]


# -- what is refused, and leaves nothing -----------------------------------------------------------


class Broken(Exception):
    pass


def breaking():
    yield "test", "first", None
    raise Broken


@pytest.mark.parametrize(
    "wrong, error, words",
    [
        ("text", TypeError, "str, where (source, event, data)"),
        (("test", "event"), TypeError, "2 items"),
        (("test", "event", 1, "key", 5), TypeError, "5 items"),
        (None, TypeError, "NoneType"),
        ((7, "event", None), TypeError, "source: 7 is not a str"),
        (("test", "", None), ValueError, "event: it is empty"),
        (("test", "event", None, True), TypeError, "unique: True"),
        (("test", "event", None, ""), ValueError, "unique: it is empty"),
        (("test", "event", {"key": {1, 2}}), stdevents.EncodeError, "data['key'] is of type set"),
    ],
)
def test_one_that_is_wrong_is_named_by_its_place_and_none_is_posted(bus, wrong, error, words):
    """G2: all are looked at before the lock is taken."""
    before = bus.stats()
    with pytest.raises(error) as caught:
        bus.post_many([*NAMES, wrong, *NAMES])
    assert str(caught.value).startswith("events[5]: ")
    assert words in str(caught.value)
    assert type(caught.value) is error
    assert bus.stats() == before


@pytest.mark.parametrize("wrong", [5, None])
def test_what_is_not_iterable_is_refused(bus, wrong):
    with pytest.raises(TypeError, match=f"^events: {type(wrong).__name__}, where an iterable"):
        bus.post_many(wrong)


def test_an_iterable_that_raises_posts_none(bus):
    before = bus.stats()
    with pytest.raises(Broken):
        bus.post_many(breaking())
    assert bus.stats() == before


@pytest.fixture
def small(name):
    """A bus of 4096 bytes and 16 slots, and what it hands over."""
    bus = stdevents.Bus(name, size=SIZE, interval=0)
    bus.poll()
    seen = []
    bus.register(lambda data, event, source, pid: seen.append((event, data)))
    yield bus, seen
    bus.close()


EMPTY = length_of_text("test", "x", "")


def test_more_bytes_than_the_ring_has_are_refused_together(small):
    bus, seen = small
    half = "x" * (SIZE // 2 - EMPTY)
    before = bus.stats()
    with pytest.raises(
        stdevents.PayloadTooLarge, match=f"2 events .* {SIZE + 1} .* {SIZE}"
    ) as error:
        bus.post_many([("test", "x", half), ("test", "x", f"{half}x")])
    assert (error.value.size, error.value.limit) == (SIZE + 1, SIZE)
    assert bus.stats() == before
    bus.post_many([("test", "x", half), ("test", "x", half)])
    bus.poll()
    assert seen == [("x", half)] * 2


def test_more_events_than_there_are_slots_are_refused(small):
    """All but one: the last event's slot is where the next post begins, if this one dies."""
    bus, seen = small
    before = bus.stats()
    with pytest.raises(
        stdevents.PayloadTooLarge, match=f"16 events .* 16 slots.* {SLOTS - 1}"
    ) as error:
        bus.post_many([("test", "x", number) for number in range(SLOTS)])
    assert (error.value.size, error.value.limit) == (SLOTS, SLOTS - 1)
    assert bus.stats() == before
    bus.post_many([("test", "x", number) for number in range(SLOTS - 1)])
    bus.poll()
    assert seen == [("x", number) for number in range(SLOTS - 1)]


# -- overflow="wait" -------------------------------------------------------------------------------


@pytest.fixture
def waiting(name):
    bus = stdevents.Bus(name, size=SIZE, overflow="wait", interval=0, shm_retries=0)
    bus.poll()
    yield bus
    bus.close()


@pytest.mark.parametrize("data, fits", [(None, SLOTS - 1), ("x" * (500 - EMPTY), SIZE // 500)])
def test_there_has_to_be_room_for_all(waiting, data, fits):
    """For their slots, and for their bytes; else there is none of them."""
    for _ in range(3):
        for _ in range(fits - 3):
            waiting.post("test", "x", data)
        before = waiting.stats()
        with pytest.raises(stdevents.NoRoom) as caught:
            waiting.post_many([("test", "x", data)] * 4)
        assert caught.value.pid == os.getpid()
        assert waiting.stats() == before
        waiting.post_many([("test", "x", data)] * 3)
        waiting.poll()
    assert waiting.stats().lost == 0


def test_they_wait_until_there_is_room_for_all(waiting, fork):
    def work(parent):
        waiting.configure(interval=0)
        parent.tell()
        parent.hear()
        waiting.poll()
        return waiting.stats().unhandled, waiting.stats().lost

    child = fork(work)
    child.hear()
    waiting.poll()
    waiting.post_many(NAMES)
    waiting.poll()
    waiting.configure(shm_retries=10**6)
    child.say()
    waiting.post_many([("test", "x", None)] * (SLOTS - 1))
    unhandled, lost = child.result()
    assert unhandled >= 5 and lost == 0


# -- killed, interrupted ---------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "stride"), [(1, 1), (300, 2)])
def test_killed_at_any_step_all_are_there_or_none(name, fork, length, stride):
    """P1 to P4, G2, G5: the lock free, the next id dense, and no other event damaged by it.

    The events before wait to be read meanwhile: those that were overwritten are lost, and are
    known to be, and those that were not are whole. The larger ones wrap.
    """
    bus = stdevents.Bus(name, size=SIZE, interval=0)
    bus.poll()
    seen, lost = [], []
    bus.register(lambda data, event, source, pid: seen.append((event, data)), "test")
    bus.register(lambda data, event, source, pid: lost.append(data["count"]), "stdevents", "lost")
    text = "x" * length
    many = [("test", "many", [number, text]) for number in range(5)]

    def live(parent, step):
        with_steps(lambda: bus.post_many(many), at(step, die), traced=is_under_the_lock)

    published, step, status = [], 0, 1
    while status:
        signal.alarm(SECONDS)  # the watchdog's: it gets on
        step += sampled(stride)
        for number in range(12):
            bus.post("test", "before", [number, text])
        child = fork(live, step)
        status = child.wait()
        assert faults_of(name) == []
        last = bus.stats().last_id
        assert bus.post("test", "after", step) == last + 1
        bus.poll()
        assert bus.stats().lag == 0
        before = [data for event, data in seen if event == "before"]
        assert before == [[number, text] for number in range(12 - len(before), 12)]
        there = [data for event, data in seen if event == "many"]
        assert there in ([], [data for _, _, data in many])
        assert seen[-1] == ("after", step)
        published.append(bool(there))
        seen.clear()
    # From P4 on, and not before; a wrap is some steps more.
    assert not any(published[: 60 // sampled(stride)]) and published[-1]
    assert bus.stats().handler_errors == 0 and sum(lost) == bus.stats().lost
    assert bool(lost) == (length > 1)
    bus.close()


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt():
    raise Interrupt


def test_with_an_exception_at_any_line_all_are_there_or_none(no_garbage, small):
    """P1 to P4, G2, G5: of a signal handler, say; nothing is there twice."""
    bus, seen = small
    many = [("test", "many", [number, "x" * 300]) for number in range(5)]
    finished, step, outcomes = False, 0, set()
    while not finished:
        step += 1
        try:
            with_steps(lambda: bus.post_many(many), at(step, interrupt))
            finished = True
        except Interrupt:
            pass
        last = bus.stats().last_id
        assert bus.post("test", "after", step) == last + 1
        bus.poll()
        *there, after = seen
        assert after == ("after", step)
        assert there in ([], [("many", data) for _, _, data in many])
        outcomes.add(len(there))
        seen.clear()
    assert outcomes == {0, 5}
    assert bus.stats().lost == 0
    assert step > 50


def test_posts_of_a_signal_handler_at_any_line_are_before_all_or_after(watchdog, small):
    """G1, G2: never among them; under the lock they are left to the call, which publishes them."""
    bus, seen = small
    many = [("test", "many", number) for number in range(4)]
    orders, ids = set(), []

    def post():
        ids.extend(bus.post_many([("test", "signal", 0), ("test", "signal", 1)]))

    for at_step in at_each(post, all_steps=True):
        ids.clear()
        first = bus.stats().last_id + 1
        of_many = with_steps(lambda: bus.post_many(many), at_step)
        assert bus.stats().last_id == first + 3 + len(ids)
        bus.poll()
        order = [event for event, _ in seen]
        seen.clear()
        places = {"signal": [], "many": []}
        for number, event in enumerate(order, first):
            places[event].append(number)
        assert of_many == places["many"]
        assert ids in (places["signal"], [0] * len(places["signal"]))
        orders.add((*order[:: len(order) - 1], ids[:1] == [0]))
    assert orders == {
        ("signal", "many", False),
        ("many", "signal", True),
        ("many", "signal", False),
        ("many", "many", False),  # it ended before its action
    }


def test_threads_that_post_many_do_not_mix_them(name):
    """G1."""
    bus = stdevents.Bus(name, size="1m", interval=0)
    seen = []
    bus.register(lambda data, event, source, pid: seen.append((event, data)), "test")

    def work(event):
        for _ in range(50):
            bus.post_many([("test", event, number) for number in range(5)])

    threads = [threading.Thread(target=work, args=(f"thread {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bus.poll()
    assert len(seen) == 4 * 50 * 5
    for start in range(0, len(seen), 5):
        event, _ = seen[start]
        assert seen[start : start + 5] == [(event, number) for number in range(5)]
    bus.close()


def stopped_during_many(bus, fork, monkeypatch, length):
    """A process that is stopped under the lock, when it has written nine of ten events."""

    def live(parent):
        begun = []

        def stop_during():
            begun.append(1)
            if len(begun) == 9:
                os.kill(os.getpid(), signal.SIGSTOP)

        bus.post("test", "before", [12, "x" * length])
        before(monkeypatch, "a checksum is taken", stop_during)
        bus.post_many([("test", "many", [number, "x" * length]) for number in range(10)])

    for number in range(12):
        bus.post("test", "before", [number, "x" * length])
    child = fork(live)
    child.wait_until_stopped()
    return child


def numbers_of(seen, wanted):
    return [data[0] for event, data in seen if event == wanted]


def test_a_stopped_poster_during_many_holds_up_no_reader(small, fork, monkeypatch):
    """G5, R2 to R5: of what it does not overwrite, though it has taken slots of it."""
    bus, seen = small
    child = stopped_during_many(bus, fork, monkeypatch, 1)
    bus.configure(wait_max=0.01)
    bus.poll()
    assert numbers_of(seen, "before") == list(range(13))
    seen.clear()
    child.go_on()
    assert child.result() is None
    bus.poll()
    assert numbers_of(seen, "many") == list(range(10))
    assert bus.stats().lost == 0


def test_what_a_stopped_poster_may_be_overwriting_is_not_skipped(small, fork, monkeypatch):
    """G3, G5: LockTimeout, and when it goes on all is there, or told as lost."""
    bus, seen = small
    child = stopped_during_many(bus, fork, monkeypatch, 250)
    bus.configure(wait_max=0.01)
    lag = bus.stats().lag
    for _ in range(2):
        with pytest.raises(stdevents.LockTimeout):
            bus.poll()
    assert (seen, bus.stats().lag) == ([], lag)
    child.go_on()
    assert child.result() is None
    bus.configure(wait_max=10)
    bus.poll()
    (event, told), *rest = seen
    assert (event, told["first"]) == ("lost", bus.stats().last_id + 1 - len(rest) - told["count"])
    assert told["count"] + len(rest) == lag + 10
    assert numbers_of(rest, "many") == list(range(10))
    kept = numbers_of(rest, "before")
    assert kept == list(range(13))[13 - len(kept) :]


def test_no_poll_sees_half_of_them(small, fork, monkeypatch):
    """G2, P4: nine of ten are written, and none is there."""
    bus, seen = small
    child = stopped_during_many(bus, fork, monkeypatch, 1)
    bus.poll()
    assert numbers_of(seen, "many") == []
    child.kill()
    bus.post("test", "after", [0])
    bus.poll()
    assert numbers_of(seen, "many") == [] and numbers_of(seen, "after") == [0]
