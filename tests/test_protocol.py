"""P1 to P4, R1 to R5, C1 to C4: each step of the protocols, interrupted where it hurts most.

The labels are those of `_table.py`. Posters and claimers are killed at every single step; readers
are overtaken, between any two of theirs, by a poster that stands at any of its own.
"""

from __future__ import annotations

import fcntl
import os
import random
import sys

import pytest
from steps import at, die, with_steps

import stdevents
from stdevents import _table
from stdevents._folder import Folder
from stdevents._layout import EVENT_CLAIMED
from stdevents._table import Table

SEED = 4_711
HAS_OPCODES = sys.implementation.name == "cpython"


class Seen(list):
    """What a bus hands to its handlers, since the last look."""

    def __init__(self, bus):
        super().__init__()
        self.bus = bus
        bus.register(self.note)

    def note(self, data, event, source, pid):
        self.append((event, data, pid))

    def new(self):
        """Poll, and what came of it."""
        self.bus.poll()
        new = self[:]
        self.clear()
        return new


def killed_at_each_step(fork, work, opcodes=False):
    """Children that do `work`, the first killed at step 1 of it, and so on, until one gets through.

    Yields (child, whether it got through), when it is dead.
    """

    def live(parent, step):
        return with_steps(work, at(step, die), opcodes=opcodes)

    step = finished = 0
    while not finished:
        step += 1
        child = fork(live, step)
        finished = child.wait() == 0
        yield child, finished


# -- P: post ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, opcodes", [(1, HAS_OPCODES), (3_000, False)])
def test_a_post_killed_at_any_step_is_there_or_is_not(name, fork, size, opcodes):
    """P1 to P4, G2, G5: nothing torn, the lock free, the next id dense. The larger ones wrap."""
    bus = stdevents.Bus(name, size=4096, interval=0)
    seen = Seen(bus)
    seen.new()
    published = []
    text = "é" * (size // 2)
    posts = killed_at_each_step(fork, lambda: bus.post("test", "killed", text), opcodes)
    for number, (child, _) in enumerate(posts):
        last = bus.stats().last_id
        assert bus.post("test", "after", number) == last + 1
        events = seen.new()
        assert events[0] == ("started", None, child.pid)
        assert events[-1] == ("after", number, os.getpid())
        assert events[1:-1] in ([], [("killed", text, child.pid)])
        published.append(len(events) == 3)
    assert bus.stats().lost == bus.stats().handler_errors == 0
    assert bus.stats().handled == bus.stats().last_id
    # From one step on, P4, it is there; and nothing is lost after that one.
    assert published == sorted(published)
    assert 20 < published.index(True) < len(published) - 1
    bus.close()


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt():
    raise Interrupt


def is_locked(name):
    """Does anybody hold the lock of the bus, this process among them?"""
    with open(f"{Folder(name).path}/lock", "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("size", [1, 3_000])
def test_a_post_with_an_exception_at_any_line_is_there_or_is_not(name, size):
    """P1 to P4, G2, G5: of a signal handler, say. The lock is not kept, nothing is there twice."""
    bus = stdevents.Bus(name, size=4096, interval=0)
    seen = Seen(bus)
    seen.new()
    step = 0
    finished = False
    while not finished:
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
def test_a_poll_with_an_exception_at_any_line_goes_on_after_it(name, unique):
    """R1 to R5, C1 to C4, G5: the lock is free; no event twice, only the interrupted one missed."""
    bus = stdevents.Bus(name, interval=0, timeout=1e-6)
    seen = Seen(bus)
    seen.new()
    step = 0
    finished = False
    while not finished:
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


# -- R: poll ---------------------------------------------------------------------------------------


def payload_of(number):
    """What the event of this id carries: of any length, and of no other event."""
    return b"%d " % number * (1 + number * 7919 % 60)


class SteppingPoster:
    """Another process that posts without end, and stands still before each line of `_write`."""

    def __init__(self, fork, bus):
        self._child = fork(self._post, bus)
        self._child.hear()

    @staticmethod
    def _post(parent, bus):
        table = bus._session.table

        def stand_still():
            parent.tell()
            parent.hear()

        def post():
            while True:
                table.append(payload_of(table.last + 1), 0)

        with_steps(post, stand_still, traced=lambda code: code is Table._write.__code__)

    def go_on(self, steps):
        """Let it do so many steps."""
        for _ in range(steps):
            self._child.say()
            self._child.hear()

    def end(self):
        """Kill it, where it stands."""
        self._child.kill()


STEPS_OF_A_WRITE = 24  # roughly
READING = {
    getattr(Table, function).__code__
    for function in ("read", "_copy", "_length_of_run", "_copy_ring", "_is_reused", "_oldest")
}


def read_while_overtaken(name, fork, rounds):
    """Read from all sides of the poster's place, and let it go on at some step of the reading.

    Every record has to be the event of its id; what is missing has to be overwritten, really.
    """
    bus = stdevents.Bus(name, size=1024, interval=0, wait_max=0.2)
    table = bus._session.table
    poster = SteppingPoster(fork, bus)
    poster.go_on(20 * STEPS_OF_A_WRITE)
    chance = random.Random(SEED)
    read = lost = 0
    for _ in range(rounds):
        position = table.last - chance.randrange(1, 6)
        overtake = chance.randrange(3 * STEPS_OF_A_WRITE)
        at_step = at(chance.randrange(1, 50), lambda: poster.go_on(overtake))  # noqa: B023
        through, records = with_steps(
            lambda: table.read(position),  # noqa: B023
            at_step,
            traced=READING.__contains__,
        )
        numbers = [number for number, *_ in records]
        assert numbers == sorted(set(numbers))
        for number, _, _, payload in records:
            assert payload == payload_of(number)
        missing = set(range(position + 1, through + 1)) - set(numbers)
        assert all(table._is_reused(number) for number in missing)
        read += len(records)
        lost += len(missing)
        poster.go_on(chance.randrange(STEPS_OF_A_WRITE))
    assert read > rounds / 4
    assert lost > rounds / 4
    poster.end()
    bus.close()


def test_a_reader_that_is_overtaken_at_any_step_gets_the_event_or_knows_that_it_is_lost(name, fork):
    """R2 to R5, G2, G3, G5: and waits for no poster, wherever that one stands."""
    read_while_overtaken(name, fork, 500)


def test_the_second_look_alone_finds_what_was_overwritten(name, fork, monkeypatch):
    """R4: with a checksum that finds nothing."""
    monkeypatch.setattr(_table, "crc32", lambda *_: 0)
    read_while_overtaken(name, fork, 500)


def test_the_checksum_alone_finds_what_was_overwritten(name, fork, monkeypatch):
    """R5: with a second look that finds nothing."""
    is_reused = Table._is_reused

    def is_reused_but_for_copy(self, number):
        called_by = sys._getframe(1).f_code
        return called_by is not Table._copy.__code__ and is_reused(self, number)

    monkeypatch.setattr(Table, "_is_reused", is_reused_but_for_copy)
    read_while_overtaken(name, fork, 500)


def test_an_event_of_equal_bytes_under_another_id_is_not_taken_for_it(bus):
    """R5: the checksum covers the id. An old slot under a new id is damage, and not delivered."""
    table = bus._session.table
    number = bus.post("test", "event", "the same")
    slot = table._slot_of(number)
    fields = bus._session.words[slot + 1 : slot + 8].tolist()
    again = bus.post("test", "event", "the same")
    slot = table._slot_of(again)
    for index, field in enumerate(fields, 1):
        bus._session.words[slot + index] = field
    assert [record[0] for record in table._copy(number, number)] == [number]
    assert table._copy(again, again) == []


# -- C: claim --------------------------------------------------------------------------------------


def test_an_event_whose_worker_is_killed_at_any_step_of_its_poll_runs_at_most_once(name, fork):
    """C1 to C4, G4, G5: until C4 the next worker runs it; from then on nobody else does."""
    bus = stdevents.Bus(name, interval=0, timeout=30)
    seen = Seen(bus)
    seen.new()
    posted = 0
    runs = []

    def work():
        bus.unregister(seen.note)
        bus.register(lambda data, event, source, pid: os.write(pipe[1], b"!"), "test")
        bus.poll()

    pipe = os.pipe()
    os.set_blocking(pipe[0], False)

    def post_another():
        nonlocal posted
        posted += 1
        bus.post("test", "event", posted, unique=f"key {posted}")

    post_another()
    for _ in killed_at_each_step(fork, work):
        mine = ("event", posted, os.getpid()) in seen.new()
        try:
            of_child = len(os.read(pipe[0], 10))
        except BlockingIOError:
            of_child = 0
        runs.append((mine, of_child))
        post_another()
    os.close(pipe[0])
    os.close(pipe[1])
    assert runs[-1] == (False, 1)
    assert set(runs) == {(True, 0), (False, 0), (False, 1)}
    # In this order, each for a while: before C4, after it, and after the handler.
    assert runs == sorted(runs, key=[(True, 0), (False, 0), (False, 1)].index)
    bus.close()


def test_a_key_whose_claimer_was_killed_between_key_and_mark_does_not_block_its_event(name, fork):
    """C3, C4: the key was taken by this very event."""
    bus = stdevents.Bus(name, interval=0, timeout=30)
    seen = Seen(bus)
    seen.new()
    number = bus.post("test", "event", 1, unique="key")

    def work(parent):
        session = bus._session
        session.table._claim(number, "key", 30)
        slot = session.table._slot_of(number)
        session.words[slot + EVENT_CLAIMED] = 0  # as if killed before C4

    fork(work).result()
    assert ("event", 1, os.getpid()) in seen.new()
    bus.close()


# -- join and leave --------------------------------------------------------------------------------


def test_a_worker_killed_at_any_step_of_join_and_leave_leaves_nothing_in_the_way(name, fork):
    """G9, G5: the next one opens the bus, as its first, and removes it all."""

    def work():
        stdevents.Bus(name, size=4096, interval=0).close()

    for _ in killed_at_each_step(fork, work):
        bus = stdevents.Bus(name, size=4096, interval=0)
        assert bus.stats().last_id == 1
        assert len(bus.workers()) == 1
        bus.close()
        assert not os.path.exists(Folder(name).path)


def test_a_worker_killed_at_any_step_of_join_and_leave_disturbs_no_other(bus, fork, name):
    """G9, G5."""

    def work():
        stdevents.configure(name, interval=0)
        stdevents.close()

    def live(parent, step):
        bus.close()
        with_steps(work, at(step, die))

    finished, step = False, 0
    while not finished:
        step += 5  # the steps between are in the test above
        child = fork(live, step)
        finished = child.wait() == 0
        last = bus.stats().last_id
        assert bus.post("test", "event") == last + 1
        assert [worker.pid for worker in bus.workers()] == [os.getpid()]
        bus.poll()
    assert bus.stats().lost == bus.stats().handler_errors == 0
