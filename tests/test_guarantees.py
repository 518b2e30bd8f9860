"""G1 to G9 with real processes; each seeded, each bounded."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time

import pytest
from inside import (
    claim,
    epoch_of,
    folder_of,
    is_wait_for_lock,
    name_of,
    under_lock,
    word_at,
    words_read_by,
)
from seen import Ledger
from state import is_locked
from steps import at, with_steps
from waiting import LONG

import stdevents

SEED = 20_000


def post_many(parent, bus, poster, count):
    """Post, and return the ids."""
    parent.tell("ready")
    parent.hear()
    return [bus.post("test", poster, number) for number in range(count)]


def start_together(children):
    """Let them begin when the last one is ready."""
    for child in children:
        child.hear()
    for child in children:
        child.say()


# -- G1, G3: order, and the account of what is lost ------------------------------------------------


def test_a_slow_reader_learns_exactly_what_it_lost(name, fork):
    """G3: delivered and lost are together what was posted, in ascending order, on 256 KiB."""
    bus = stdevents.Bus(name, size="256k", interval=0, wait_max=LONG)
    total = 20_000

    def read(parent):
        ledger = Ledger(bus)
        end = bus.stats().last_id + total + 4  # each poster's `started`

        def dawdle(data, event, source, pid):
            # Until it is overrun, or there is nothing more to come.
            if len(ledger.delivered) % 300 == 0:
                while bus.stats().last_id < min(end, ledger.next + 1_500):
                    time.sleep(0)

        bus.register(dawdle, "test")
        parent.tell("ready")
        while ledger.next <= end:
            bus.poll()
        return ledger, end, bus.stats()

    reader = fork(read)
    reader.hear()
    posters = [fork(post_many, bus, poster, total // 4) for poster in "abcd"]
    start_together(posters)
    posted = {}
    for poster, child in zip("abcd", posters):
        for number, identifier in enumerate(child.result()):
            posted[identifier] = (poster, number, child.pid)
    ledger, end, stats = reader.result()
    assert ledger.misled == []
    assert list(ledger.delivered) == sorted(ledger.delivered)
    assert ledger.lost == sorted(ledger.lost)
    assert sorted([*ledger.delivered, *ledger.lost]) == list(range(ledger.first, end + 1))
    assert stats.lost == len(ledger.lost) > 1_000
    assert stats.handled == len(ledger.delivered) > 1_000
    assert len(posted) == total
    for identifier, event in ledger.delivered.items():
        assert posted.get(identifier, ("started", None, event[2])) == event
    bus.close()


# -- G4: one ---------------------------------------------------------------------------------------


def test_300_unique_events_run_once_each_however_late_the_workers_are(name, fork):
    """G4: the mark on an event holds when its key has long expired."""
    bus = stdevents.Bus(name, interval=0, timeout=0.01, wait_max=LONG)

    def work(parent, seed):
        chance = random.Random(seed)
        ran, over = [], []

        def handler(data, event, source, pid):
            ran.append(data)
            if chance.random() < 0.1:
                time.sleep(0.03)  # longer than `timeout`

        bus.register(handler, "test", "unique")
        bus.register(lambda *_: over.append(True), "test", "over")
        parent.tell("ready")
        while not over:
            bus.poll()
            if chance.random() < 0.1:
                time.sleep(0.03)
        return ran

    workers = [fork(work, SEED + number) for number in range(4)]
    start_together(workers)
    for number in range(300):
        bus.post("test", "unique", number, unique=f"key {number}")
        if number % 10 == 0:
            time.sleep(0.005)  # else they are late for all, and the first takes all
    bus.post("test", "over")
    ran = [worker.result() for worker in workers]
    assert sorted(number for numbers in ran for number in numbers) == list(range(300))
    bus.close()


def test_a_worker_that_comes_after_the_key_has_expired_skips_the_event(bus, fork, seen):
    """G4, C1."""
    bus.configure(timeout=0.001)
    bus.post("test", "event", unique="key")

    def work(parent):
        bus.poll()
        return seen

    assert fork(work).result()[0] == ("test", "event", None)
    time.sleep(0.01)  # now the key is free
    bus.poll()
    assert ("test", "event", None) not in seen
    assert bus.stats().ignored == 1


def test_an_event_whose_key_another_holds_is_skipped_and_it_is_logged(bus, fork, caplog):
    """G4, C2."""
    bus.configure(timeout=30)
    ran = []
    bus.register(lambda data, event, source, pid: ran.append(data), "test")
    first = bus.post("test", "event", 1, unique="key")

    def work(parent):
        bus.poll()
        return ran

    child = fork(work)
    assert child.result() == [1]
    second = bus.post("test", "event", 2, unique="key")
    with caplog.at_level(logging.DEBUG, "stdevents"):
        bus.poll()
    assert ran == []
    skipped = [text for text in caplog.messages if text.startswith("skipping")]
    assert skipped == [
        f"skipping event {number} was handled by worker {child.pid}" for number in (first, second)
    ]


def test_a_worker_without_a_handler_does_not_take_the_event(bus, fork):
    """G4: it is left to one that has."""
    ran = []
    handler = bus.register(lambda data, event, source, pid: ran.append(data), "test")
    bus.post("test", "event", 1, unique="key")

    def work(parent):
        bus.unregister(handler, "test")
        bus.poll()
        return bus.stats().ignored

    assert fork(work).result() == 0
    bus.poll()
    assert ran == [1]


def test_an_event_whose_worker_died_in_its_handler_does_not_run_again(bus, fork):
    """G4: at most one."""
    ran = []
    bus.configure(timeout=0.001)
    handler = bus.register(lambda data, event, source, pid: ran.append(data), "test")

    def work(parent):
        def die(data, event, source, pid):
            parent.tell(data)
            signal.pause()

        bus.unregister(handler, "test")
        bus.register(die, "test")
        bus.poll()

    bus.post("test", "event", 1, unique="key")
    child = fork(work)
    assert child.hear() == 1
    child.kill()
    bus.post("test", "event", 2, unique="another key")
    bus.poll()
    assert ran == [2]


# -- G2, G5: death and standstill ------------------------------------------------------------------


def hold_the_lock_and_stop(parent, bus):
    under_lock(bus, lambda: (parent.tell("locked"), os.kill(os.getpid(), signal.SIGSTOP)))
    return "released"


def test_a_stopped_holder_of_the_lock_stops_nobody_else(bus, fork, seen):
    """G5: posts give up after `wait_max`, polls of plain events go on."""
    bus.configure(wait_max=0.05)
    child = fork(hold_the_lock_and_stop, bus)
    child.hear()
    child.wait_until_stopped()
    last = bus.stats().last_id
    with pytest.raises(stdevents.LockTimeout):
        bus.post("test", "too early")
    assert bus.poll() == "done"
    assert seen == [("stdevents", "started", None)]
    child.go_on()
    assert child.result() == "released"
    assert bus.post("test", "now") == last + 1
    bus.poll()
    assert seen[1:] == [("test", "now", None)]


def test_a_poll_that_cannot_claim_stops_before_the_event_until_it_can(bus, fork, seen):
    """G4, G5: the plain event before it is handled."""
    bus.post("test", "plain")
    bus.post("test", "unique", unique="key")
    bus.post("test", "plain too")
    bus.configure(wait_max=0.05)
    child = fork(hold_the_lock_and_stop, bus)
    child.hear()
    child.wait_until_stopped()
    with pytest.raises(stdevents.LockTimeout):
        bus.poll()
    assert seen == [("test", "plain", None)]
    child.go_on()
    child.result()
    bus.poll()
    assert [event for _, event, _ in seen] == ["plain", "unique", "plain too", "started"]


def test_a_call_during_a_wait_of_its_thread_for_the_lock_is_refused(bus, fork):
    """G4, G5: its own thread is about to have the lock, and has not got it yet."""
    bus.configure(wait_max=0.05)
    number = bus.post("test", "unique", unique="key")
    child = fork(hold_the_lock_and_stop, bus)
    child.hear()
    child.wait_until_stopped()
    refused = []

    def handle():
        for work in (bus.workers, lambda: claim(bus, number, "key")):
            with pytest.raises(stdevents.StdeventsError) as caught:
                work()
            refused.append(type(caught.value) is not stdevents.LockTimeout)

    with pytest.raises(stdevents.LockTimeout):
        with_steps(
            lambda: bus.post("test", "event"),
            at(1, handle),
            traced=is_wait_for_lock,
        )
    assert refused == [True, True]
    child.go_on()
    assert child.result() == "released"
    assert claim(bus, number, "key")
    assert not is_locked(name_of(bus))


def test_a_thread_that_only_posts_does_not_starve_the_others(bus):
    """G5: within one process too."""
    over = threading.Event()

    def post_on():
        while not over.is_set():
            bus.post("test", "much")

    threads = [threading.Thread(target=post_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(20):
            bus.post("test", "little", number)
    finally:
        over.set()
        for thread in threads:
            thread.join()


# -- G8: cost --------------------------------------------------------------------------------------


def test_a_poll_that_finds_nothing_reads_one_word(bus):
    """G8, R1."""
    assert words_read_by(bus, bus.poll) == [word_at("LAST")]


def calls_of_a_post(bus):
    """How many calls, in Python and in C, a post makes that does not look at its ground as well."""
    counts = []
    for _ in range(3):
        calls = []
        sys.setprofile(lambda frame, what, argument: calls.append(what))  # noqa: B023
        try:
            bus.post("test", "event")
        finally:
            sys.setprofile(None)
        counts.append(len(calls))
    return min(counts)


def test_a_post_costs_the_same_however_many_workers_there_are(bus, fork):
    """G8."""
    alone = calls_of_a_post(bus)
    children = [fork(lambda parent: parent.tell("there") or parent.hear()) for _ in range(12)]
    for child in children:
        child.hear()
    assert len(bus.workers()) == 13
    assert calls_of_a_post(bus) == alone
    for child in children:
        child.say()
        child.result()


# -- G9: no trace ----------------------------------------------------------------------------------


def open_until_told(parent, name):
    """Open the bus, tell its epoch and last id, and close it when the parent says so."""
    bus = stdevents.Bus(name, interval=0)
    parent.tell((epoch_of(bus), bus.stats().last_id))
    parent.hear()
    bus.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_last_to_leave_removes_everything(name, fork, order):
    """G9: whoever that is; not one before."""
    children = [fork(open_until_told, name) for _ in range(3)]
    assert len({child.hear()[0] for child in children}) == 1
    for number in order:
        assert os.path.exists(folder_of(name))
        children[number].say()
        children[number].result()
    assert not os.path.exists(folder_of(name))


def test_what_a_killed_set_left_behind_is_replaced(name, fork):
    """G9: by a new bus, of another epoch, that begins at 1."""
    killed = [fork(open_until_told, name) for _ in range(3)]
    epochs = {child.hear()[0] for child in killed}
    for child in killed:
        child.kill()
    assert os.path.exists(folder_of(name))
    successor = fork(open_until_told, name)
    epoch, last = successor.hear()
    assert epoch not in epochs
    assert last == 1
    successor.say()
    successor.result()


def test_the_slots_of_the_killed_are_free_again_while_others_live_on(bus, fork):
    """G9, G5."""
    for _ in range(3):
        children = [fork(lambda parent: parent.hear()) for _ in range(3)]
        for child in children:
            child.kill()
        assert [worker.pid for worker in bus.workers()] == [os.getpid()]


def test_one_bus_however_many_join_at_once(name, fork):
    """G9: 16 processes come and go together; between that they are all on the same one."""

    def work(parent):
        while parent.hear() == "join":
            bus = stdevents.Bus(name, interval=0, wait_max=20)
            parent.tell(epoch_of(bus))
            parent.hear()
            bus.close()
            parent.tell("left")

    children = [fork(work) for _ in range(16)]
    epochs = set()
    for _ in range(15):
        for child in children:
            child.say("join")
        (epoch,) = {child.hear() for child in children}
        epochs.add(epoch)
        for child in children:
            child.say("leave")
        assert {child.hear() for child in children} == {"left"}
        assert not os.path.exists(folder_of(name))
    assert len(epochs) == 15
    for child in children:
        child.say("end")
        child.result()


def test_nobody_is_left_on_a_bus_that_the_last_one_just_removes(name, fork):
    """G9: 8 processes come and go as they like; each is heard on the bus that it joined."""

    def work(parent):
        parent.hear()
        for number in range(60):
            bus = stdevents.Bus(name, size="1m", interval=0, wait_max=20)
            seen = []
            bus.register(lambda data, event, source, pid: seen.append((pid, data)), "test")  # noqa: B023
            bus.post("test", "event", number)
            bus.poll()
            assert (os.getpid(), number) in seen
            assert os.getpid() in [worker.pid for worker in bus.workers()]
            bus.close()

    children = [fork(work) for _ in range(8)]
    for child in children:
        child.say()
    for child in children:
        child.result()
