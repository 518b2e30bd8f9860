"""P1 to P4, R1 to R5, C1 to C4: each step of the protocols, interrupted where it hurts most.

The labels are those of `_table`. Posters and claimers are interrupted at every line; readers are
overtaken, between any two of their lines, by a poster that stands at any of its own. (That workers
are killed at every step is a campaign.)
"""

from __future__ import annotations

import os
import random
import signal
import sys

import pytest
from children import SECONDS
from inside import (
    READING,
    WRITING,
    append,
    folder_of,
    is_kept_as_open,
    is_of_joining,
    is_of_opening_lock,
    is_overwritten,
    is_under_the_lock,
    last_of,
    lock_has_owner,
    locks_the_current_file,
    memory_file_of,
    name_of,
    read,
    take_key_only,
)
from seen import Seen
from state import assert_alone, assert_removed, is_locked
from steps import at, at_each, with_steps
from waiting import LONG

import stdevents

SEED = 4_711


# -- P: post ---------------------------------------------------------------------------------------


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt():
    raise Interrupt


@pytest.mark.parametrize("size", [1, 3_000])
def test_a_post_with_an_exception_at_any_line_is_there_or_is_not(no_garbage, name, size):
    """P1 to P4, G2, G5: of a signal handler, say. The lock is not kept, nothing is there twice."""
    bus = stdevents.Bus(name, size=4096, interval=0)
    seen = Seen(bus)
    seen.new()
    step = 0
    finished = False
    while not finished:
        signal.alarm(SECONDS)  # the watchdog's: it gets on
        step += 1
        try:
            data = [step, "x" * size]
            with_steps(lambda: bus.post("test", "event", data), at(step, interrupt))  # noqa: B023
            finished = True
        except Interrupt:
            pass
        assert not is_locked(name)
        last = bus.post("test", "after", step)
        assert last == bus.stats().last_id
        me = os.getpid()
        after = ("after", step, me)
        assert seen.new() in ([("event", data, me), after], [after])
    assert step > 30
    assert bus.stats().handled == bus.stats().last_id
    bus.close()


@pytest.mark.parametrize("unique", [None, "key"])
def test_a_poll_with_an_exception_at_any_line_goes_on_after_it(no_garbage, name, unique):
    """R1 to R5, C1 to C4, G5: the lock is free; no event twice, only the interrupted one missed."""
    bus = stdevents.Bus(name, interval=0, timeout=1e-6)
    seen = Seen(bus)
    seen.new()
    step = 0
    finished = False
    while not finished:
        signal.alarm(SECONDS)  # the watchdog's: it gets on
        step += 1
        first = bus.post("test", "event", 1, unique)
        bus.post("test", "event", 2)
        try:
            with_steps(bus.poll, at(step, interrupt))
            finished = True
        except Interrupt:
            pass
        assert not is_locked(name)
        numbers = [data for _, data, _ in seen.new()]
        assert numbers in ([1, 2], [1], [2])
        assert bus.stats().lag == 0
        assert bus.stats().last_id == first + 1
    assert numbers == [1, 2]
    bus.close()


LARGE = "x" * 2015  # an event of this fills a ring of 2 KiB, whatever the pid


def overfull(name):
    """A bus that has room for a small event, but not for a large one."""
    bus = stdevents.Bus(name, size=2048, overflow="wait", interval=0, shm_retries=0)
    bus.poll()
    bus.post("test", "small")
    return bus


def test_a_refused_post_with_an_exception_at_any_line_keeps_no_lock(watchdog, no_garbage, name):
    """G5: where the error is on its way up, too."""
    bus = overfull(name)
    for at_step in at_each(interrupt):
        with pytest.raises((Interrupt, stdevents.NoRoom)):
            with_steps(lambda: bus.post("test", "large", LARGE), at_step, traced=is_under_the_lock)
        assert not is_locked(name)
        assert not lock_has_owner(bus)
    bus.close()


def test_a_signal_handler_may_post_at_any_line_of_a_post_that_is_refused(
    watchdog, no_garbage, name
):
    """G2, G5: its event is there, and the lock is free."""
    bus = overfull(name)
    seen = Seen(bus)
    posted, ids = [], set()
    for at_step in at_each(lambda: posted.append(bus.post("test", "signal"))):
        with pytest.raises(stdevents.NoRoom):
            with_steps(lambda: bus.post("test", "large", LARGE), at_step, traced=is_under_the_lock)
        assert not is_locked(name)
        assert bus.stats().last_id == (posted[0] if any(posted) else last_of(bus))
        assert [event for event, _, _ in seen.new()] == ["small"] + ["signal"] * len(posted)
        ids |= set(posted)
        posted.clear()
        bus.post("test", "small")
    assert 0 in ids and len(ids) > 1  # 0: left to the call that is refused, which publishes it
    bus.close()


def test_a_signal_handler_may_ask_for_the_workers_at_any_line_of_a_post(
    watchdog, no_garbage, bus, name
):
    """G5: told, or refused where the lock is held just then; it is free after that."""
    told = set()

    def ask():
        try:
            assert_alone(bus)
            told.add("who they are")
        except stdevents.StdeventsError as error:
            assert "this call interrupted another one of its thread" in str(error)
            told.add("that it has to wait")

    for at_step in at_each(ask):
        number = with_steps(lambda: bus.post("test", "event"), at_step)
        assert number == bus.stats().last_id
        assert not is_locked(name)
    assert len(told) == 2


def test_no_handler_runs_under_the_lock_by_a_poll_at_any_line_of_a_post(watchdog, no_garbage, name):
    """G1, G5: where it cannot poll now, it is told so, and the next poll handles what is new."""
    bus = stdevents.Bus(name, interval=0)
    seen = Seen(bus)
    seen.new()
    locked, results = [], set()
    bus.register(lambda *_: locked.append(is_locked(name)))
    posted = []
    for number, at_step in enumerate(at_each(lambda: results.add(bus.poll()))):
        with_steps(lambda: bus.post("test", "event", number), at_step)  # noqa: B023
        posted.append(("event", number, os.getpid()))
    assert seen.new() == posted
    assert not any(locked)
    assert results == {"done", "recursive"}
    bus.close()


def test_a_signal_handler_may_close_at_any_line_of_a_post(bus, seen, fork):
    """G2, G5: `stopping` is there for all; and the event, if and only if its post returned."""

    def work(parent):
        for at_step in at_each(bus.close):
            bus.configure(name_of(bus), interval=0)
            try:
                with_steps(lambda: bus.post("test", "event"), at_step)
                result = "posted"
            except stdevents.NotConfigured:
                result = "not posted"
            bus.close()
            parent.tell(result)
            parent.hear()

    bus.poll()
    seen.clear()
    child = fork(work)
    outcomes = set()
    for result in iter(child.hear, None):
        bus.poll()
        started, *event, stopping = [event for _, event, _ in seen]
        seen.clear()
        assert (started, stopping) == ("started", "stopping"), result
        assert event == ["event"] * (result == "posted")
        assert not is_locked(name_of(bus))
        outcomes.add((result, len(event)))
        child.say()
    assert child.wait() == 0
    assert outcomes == {("posted", 1), ("not posted", 0)}


# -- R: poll ---------------------------------------------------------------------------------------


def payload_of(number):
    """What the event of this id carries: of any length, and of no other event."""
    return b"%d," % number * (1 + number * 7919 % (150 if number % 2 else 15))


class SteppingPoster:
    """Another process that posts without end, and stands still before each line of its writing.

    So many events at once.
    """

    def __init__(self, fork, bus, count=1):
        self._child = fork(self._post, bus, count)
        self._child.hear()

    @staticmethod
    def _post(parent, bus, count):
        bus.configure(wait_max=LONG)  # a worker of its own now: only the reader gives up at once
        left = 0

        def stand_still():
            nonlocal left
            if not left:
                parent.tell()
                left = parent.hear()
            left -= 1

        def post():
            while True:
                first = last_of(bus) + 1
                append(bus, *(payload_of(first + i) for i in range(count)))

        with_steps(post, stand_still, traced=WRITING.__contains__)

    def go_on(self, steps):
        """Let it do so many steps."""
        if steps:
            self._child.say(steps)
            self._child.hear()

    def end(self):
        """Kill it, where it stands."""
        self._child.kill()


STEPS_OF_A_WRITE = 36  # roughly


@pytest.mark.parametrize("count", [1, 2])
def test_a_reader_overtaken_at_any_step_gets_the_event_or_knows_its_loss(name, fork, count):
    """R1 to R5, P2, G2, G3, G5: it reads from all sides of the place of a poster that has the lock.

    And lets it go on at some step of its reading. Each record has to be the event of its id. What
    is missing has to be overwritten, really; and only for that does it ever wait for the poster.
    """
    bus = stdevents.Bus(name, size=1024, interval=0, wait_max=0.001)
    poster = SteppingPoster(fork, bus, count)
    poster.go_on(20 * STEPS_OF_A_WRITE)
    chance = random.Random(SEED)
    there = lost = waits = 0
    for _ in range(500):
        position = max(0, last_of(bus) - chance.randrange(1, 6))
        overtake = chance.randrange(3 * STEPS_OF_A_WRITE)
        at_step = at(chance.randrange(1, 50), lambda: poster.go_on(overtake))  # noqa: B023
        try:
            through, records = with_steps(
                lambda: read(bus, position),  # noqa: B023
                at_step,
                traced=READING.__contains__,
            )
        except stdevents.LockTimeout:
            assert is_overwritten(bus, position + 1)
            waits += 1
        else:
            numbers = [number for number, _ in records]
            assert numbers == sorted(set(numbers))
            for number, payload in records:
                assert payload in (None, payload_of(number))
            missing = set(range(position + 1, through + 1)) - set(numbers)
            assert all(is_overwritten(bus, number) for number in missing)
            there += len(records)
            lost += len(missing)
        poster.go_on(chance.randrange(STEPS_OF_A_WRITE))
    assert there > 100 and waits > 100
    poster.end()
    # Now that nobody has the lock: where the dead one was is no gap.
    last = last_of(bus)
    append(bus, payload_of(last + 1))
    assert read(bus, last) == (last + 1, [(last + 1, payload_of(last + 1))])
    bus.close()


# -- C: claim --------------------------------------------------------------------------------------


def test_a_claimer_killed_between_key_and_mark_does_not_block_its_event(name, fork):
    """C3, C4: the key was taken by this very event."""
    bus = stdevents.Bus(name, interval=0, timeout=30)
    seen = Seen(bus)
    seen.new()
    number = bus.post("test", "event", 1, unique="key")

    def work(parent):
        bus.stats()  # a worker of its own now
        take_key_only(bus, number, "key")  # as if killed before C4

    fork(work).result()
    assert ("event", 1, os.getpid()) in seen.new()
    bus.close()


def leave_when_told(parent, name):
    bus = stdevents.Bus(name, interval=0, wait_max=0.05)
    parent.tell()
    parent.hear()
    bus.close()
    parent.tell()


def test_a_bus_that_is_removed_at_any_step_of_a_join_is_made_anew(name, fork):
    """G9: a lock file that was unlinked locks nobody out; the joiner does not go on with it."""
    step = 0
    finished = False
    while not finished:
        signal.alarm(SECONDS)  # the watchdog's: it gets on
        step += 1
        finished = True
        last_worker = fork(leave_when_told, name)
        last_worker.hear()

        def have_it_leave():
            nonlocal finished
            finished = False
            last_worker.say()  # noqa: B023
            last_worker.hear()  # noqa: B023

        bus = with_steps(
            lambda: stdevents.Bus(name, interval=0),
            at(step, have_it_leave),
            traced=is_of_opening_lock,
        )
        assert locks_the_current_file(bus)
        if not finished:
            assert last_worker.result() is None
            assert [worker.pid for worker in bus.workers()] == [os.getpid()]
        last_worker.kill()
        bus.close()
        assert not os.path.exists(folder_of(name))
    assert step > 8


def open_here(name):
    """The descriptors of this process.

    But for the listing's own, and the mapping's, which PyPy closes when it collects memory that
    nobody has any more.
    """
    targets = {number: target_of(number) for number in os.listdir("/dev/fd")}
    mapped = memory_file_of(name) if sys.implementation.name == "pypy" else "no file"
    return {
        number: target
        for number, target in targets.items()
        if target and not target.startswith(mapped)
    }


def target_of(number):
    try:
        return os.readlink(f"/dev/fd/{number}")
    except OSError:  # that of the listing itself
        return ""


def test_an_exception_at_any_line_of_joining_leaves_no_worker_behind(watchdog, no_garbage, name):
    """G9: nor any other trace, in this process either."""
    bus = stdevents.Bus(name, interval=0)
    bus.close()  # what is loaded late is, by now
    descriptors = open_here(name)
    for at_step in at_each(interrupt):
        try:
            with_steps(lambda: bus.configure(name, interval=0), at_step, traced=is_of_joining)
        except Interrupt:
            assert not bus.configured()
        else:
            bus.close()
        assert open_here(name) == descriptors
        assert_removed(name)
        assert not is_kept_as_open(name)
