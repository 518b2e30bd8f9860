"""8 posters and 8 readers, while children of the posters come, post a little, and go.

All readers, half of them with a loop and half by hand, are handed the same list of events, and it
is the one that the ids say.
"""

from __future__ import annotations

import hashlib
import os
import signal
import threading

from children import SECONDS, Child
from state import assert_alone, assert_sound

import stdevents

NAME = "total order"
POSTERS, READERS = 8, 8
PER_VISITOR = 200  # events of a poster
OF_A_VISITOR = 5  # events


class List:
    """All that a worker is handed between the first and the last event, hashed."""

    def __init__(self, bus):
        self.count = 0
        self.digest = None
        self.complete = threading.Event()
        bus.register(self.note)

    def note(self, data, event, source, pid):
        if event == "first":
            self.digest = hashlib.sha256()
        if self.digest is not None and not self.complete.is_set():
            self.count += 1
            if self.count % 1_000 == 0:
                signal.alarm(SECONDS)  # a reader gets on
            self.digest.update(f"{source} {event} {data} {pid}\n".encode())
        if event == "last":
            self.complete.set()

    def told(self):
        return self.count, self.digest.hexdigest()


def read(parent, bus, with_loop):
    """Read up to the last event; returns the list, and how many events were lost."""
    events = List(bus)
    if with_loop:
        bus.configure(interval=0.05)
    parent.tell("ready")
    if with_loop:
        events.complete.wait()
    while not events.complete.is_set():
        bus.poll()
    return events.told(), bus.stats().lost


def post(parent, bus, poster, count):
    """Post so many, and fork visitors meanwhile; tells the ids of each of them, and its own."""
    parent.tell("ready")
    parent.hear()
    ids = []
    for number in range(count):
        ids.append(bus.post("test", poster, number))
        if number % PER_VISITOR == PER_VISITOR - 1:
            bus.poll()  # not for the visitor to do, which goes on where this one is
            visitor = f"visitor {number} of {poster}"
            parent.tell((visitor, Child(visit, bus, visitor).result()))
    parent.tell((poster, ids))


def visit(parent, bus, poster):
    """Post a few, see them, and go; every other one without a word."""
    numbers = []
    bus.register(lambda data, event, source, pid: numbers.append(data), "test", poster)
    ids = [bus.post("test", poster, number) for number in range(OF_A_VISITOR)]
    bus.poll()
    assert numbers == list(range(OF_A_VISITOR))
    if os.getpid() % 2:
        bus.close()
    return ids


def order_once(campaign, name, fork, count):
    """One round, with `count` events of each poster."""
    bus = stdevents.Bus(name, size="32m", interval=0, wait_max=20)
    readers = [fork(read, bus, number % 2 == 0) for number in range(READERS)]
    posters = [fork(post, bus, f"poster {number}", count) for number in range(POSTERS)]
    for child in (*readers, *posters):
        child.hear()
    events, seen = List(bus), []
    bus.post("round", "first")
    bus.poll()
    bus.register(lambda data, event, source, pid: seen.append((event, data)), "test")
    for poster in posters:
        poster.say()
    ids = {}
    for poster in posters:
        for _ in range(count // PER_VISITOR + 1):
            teller, its_ids = poster.hear()
            ids[teller] = its_ids
            campaign.progress(NAME, len(ids))
            bus.poll()
        poster.result()
    bus.post("round", "last")
    bus.poll()

    posted = {of: (who, n) for who, its_ids in ids.items() for n, of in enumerate(its_ids)}
    campaign.count("reordered", seen != [posted[number] for number in sorted(posted)])
    campaign.count("reordered", sum(its_ids != sorted(its_ids) for its_ids in ids.values()))
    campaign.count("duplicated", sum(map(len, ids.values())) - len(posted))
    for reader in readers:
        told, lost = reader.result()
        campaign.progress(NAME, len(posted))
        campaign.count("lost", lost)
        campaign.count("reordered", told != events.told())
    campaign.count("visitors", len(ids) - POSTERS)
    assert bus.stats().lost == bus.stats().handler_errors == 0
    assert_sound(name)
    assert_alone(bus)
    bus.close()
    return len(posted)


def test_total_order(campaign, name, fork):
    """G1, G2, G7: the posters' own order is kept, and nothing is lost."""
    cases = 0
    for _ in range(campaign.size(1, 10)):
        cases += order_once(campaign, name, fork, campaign.size(1_000, 10_000))
        campaign.progress(NAME, cases)
    campaign.end(NAME, cases)
