"""The reader killed at each step of its way from the stream to the bus; rules of `cursor`.

Steps are lines, of which each third is tried, or opcodes, each seventh; with --long, all.
"""

from __future__ import annotations

import signal

import pytest
from children import SECONDS
from entries import entry_of
from inside import (
    after,
    code_of_relaying,
    faults_of,
    name_of,
    new_reader,
    one_event_a_batch,
    place_in_stream,
    poll_and_look,
    relay_once,
    remove_folder,
    remove_memory,
    seat_of,
)
from steps import at, die, with_steps

LOCAL = 4  # events that others post after each kill: as many as take the ids of the dead one's
APPENDING = code_of_relaying()


@pytest.fixture
def readers(host, client):
    """A host whose relay has ended, so that a test reads when it wants to; and its readers."""
    watching = host(size=65536, timeout=0.001)
    watching.relay.close()
    return watching, lambda: new_reader(watching)


def read_all(reader):
    """Be the reader, put on the bus what there is, and leave it to others again."""
    assert reader.elect()
    while reader.read():
        pass
    reader.resign()


def put(client, number):
    """What there is to read for one kill; returns what is to be seen of it."""
    pipeline = client.pipeline()
    pipeline.xadd("stream", entry_of("event", number))
    pipeline.xadd("stream", entry_of("one", number, unique=f"key {number}"))
    pipeline.xadd("stream", {"foreign": number})
    pipeline.xadd("stream", entry_of("last", number))
    pipeline.execute()
    return [("event", number), ("one", number), ("last", number)]


@pytest.fixture
def lines(request):
    """`(trace opcodes?, from one step to the next)`."""
    return False, 1 if request.config.option.long else 3


@pytest.fixture
def opcodes(request, lines):
    """The same, where there are opcodes to trace."""
    return True, 1 if request.config.option.long else 7


def kill_at_each_step(readers, fork, client, traced, steps):
    """Have a child killed at step 1 of reading, the next at step 2, until one gets through.

    After each of them somebody else posts, and the next reader goes on. Returns how many of the
    three events the bus had when it was killed, of each.
    """
    watching, reader = readers

    def live(parent, step):
        options = {"traced": traced} if traced else {}
        with_steps(lambda: read_all(reader()), at(step, die), opcodes=steps[0], **options)

    of_each = []
    step, finished = 1 - steps[1], False
    while not finished:
        signal.alarm(SECONDS)  # the watchdog's
        step += steps[1]
        expected = put(client, step)
        watching.seen.clear()
        finished = fork(live, step).wait() == 0
        for number in range(LOCAL):
            watching.bus.post("test", "local", number)
        watching.bus.poll()
        of_each.append(len(watching.seen) - LOCAL)
        read_all(reader())
        watching.bus.poll()
        seen = [seen for seen in watching.seen if seen[0] != "local"]
        assert seen == expected, f"killed at step {step}: {watching.seen}"
    assert watching.bus.stats().lost == 0
    return of_each


def test_a_reader_killed_at_any_step_leaves_no_gap_and_no_double(readers, fork, client, lines):
    """P1 to P4 and the cursor's rules 1 to 4: the events and their place come with one store.

    From the election to the last entry: each line of the package. Also the claim of the unique
    one, which the next reader of the host knows for its own.
    """
    of_each = kill_at_each_step(readers, fork, client, None, lines)
    assert set(of_each) == {0, 3}
    assert len(of_each) > 100


def test_an_append_killed_at_any_opcode_leaves_no_gap_and_no_double(readers, fork, client, opcodes):
    """The same between any two stores of a line."""
    watching, reader = readers
    of_each = kill_at_each_step(readers, fork, client, lambda code: code in APPENDING, opcodes)
    assert set(of_each) == {0, 3}
    assert len(of_each) > 100


def test_a_place_whose_events_were_never_published_does_not_come_to_count(
    readers, fork, client, monkeypatch
):
    """Rule 4 of `cursor`: the reader dies right before P4, and others post with those ids."""
    watching, reader = readers

    def live(parent):
        after(monkeypatch, "the place in the stream is written", die)
        read_all(reader())

    expected = put(client, 1)
    assert fork(live).wait() != 0
    assert faults_of(name_of(watching.bus)) == []
    for number in range(LOCAL):
        watching.bus.post("test", "local", number)
    read_all(reader())
    watching.bus.poll()
    assert watching.seen == [*(("local", number) for number in range(LOCAL)), *expected]


def test_a_reader_killed_between_batches_leaves_the_cursor_between_them(
    readers, fork, client, lines, monkeypatch
):
    """Each batch has a place of its own."""
    one_event_a_batch(monkeypatch)
    of_each = kill_at_each_step(readers, fork, client, lambda code: code in APPENDING, lines)
    assert set(of_each) == {0, 1, 2, 3}


def test_a_position_without_an_event_is_published_by_one_store(readers, fork, client, opcodes):
    """Rule 2 of `cursor`: entries are skipped by a reader that is killed at each step."""
    watching, reader = readers
    read_all(reader())
    passed = []

    def live(parent, step):
        traced = {"traced": lambda code: code in APPENDING, "opcodes": opcodes[0]}
        with_steps(lambda: read_all(reader()), at(step, die), **traced)

    step, finished = 1 - opcodes[1], False
    while not finished:
        signal.alarm(SECONDS)
        step += opcodes[1]
        before = place_in_stream(watching.bus)
        after = client.xadd("stream", {"foreign": step}).decode()
        finished = fork(live, step).wait() == 0
        position = place_in_stream(watching.bus)
        assert str(position) in (str(before), after)
        passed.append(str(position) == after)
        read_all(reader())
    assert set(passed) == {False, True}
    assert len(passed) > 50


def test_an_election_killed_at_any_step_is_in_nobodys_way(readers, fork, client):
    """G5: the dead one is seen to be dead, however far it came."""
    watching, reader = readers
    step, finished = 0, False
    while not finished:
        signal.alarm(SECONDS)
        step += 1

        def live(parent):
            one = reader()
            with_steps(one.elect, at(step, die))  # noqa: B023

        finished = fork(live).wait() == 0
        one = reader()
        assert one.elect()
        one.resign()
    assert step > 20


def test_a_removed_bus_is_gone_on_with_where_it_was(host, client, name):
    """With a bus its cursor is gone, but not what its reader knew; G3 tells of the bus itself."""
    a = host("a")
    client.xadd("stream", entry_of("event", 1))
    a.until(("event", 1))
    remove_folder(name_of(a.bus))
    remove_memory(name_of(a.bus))

    def is_told():
        poll_and_look(a.bus)
        return len(a.seen) > 1

    a.wait_for(is_told)
    client.xadd("stream", entry_of("event", 2))
    a.until(("event", 1), ("lost", dict.fromkeys(("first", "last", "count"))), ("event", 2))


def test_a_relay_finds_out_by_itself_that_the_bus_was_removed(host, watchdog):
    """Where nobody polls or posts, it would read on to a bus that nobody joins any more."""
    a = host("a")
    a.relay.close()
    before = seat_of(a.bus)
    remove_folder(name_of(a.bus))
    remove_memory(name_of(a.bus))
    while seat_of(a.bus) is before:
        relay_once(a.relay)
    a.bus.post("test", "event", 1)
    a.wait_for(lambda: ("event", 1) in a.seen)
