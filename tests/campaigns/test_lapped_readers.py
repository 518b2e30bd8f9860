"""Lapped readers: 8 slots, payloads up to the whole ring, posters that wait for nobody.

What an event carries follows from its poster and number, so that a reader can tell whether it is
whole; which id it has to have, the posters know. Where it lies in the ring follows from the
lengths of those before it: so a loss can be told from an excuse.
"""

from __future__ import annotations

import os
import random
import time
from array import array
from itertools import accumulate

from inside import length_of_text

import stdevents

SIZE = 2048  # bytes in the ring
SLOTS = 8
POSTERS = READERS = 2

# Of an event without its text; the pid of its poster stands in it.
EMPTY = length_of_text("test", "0", "00000000") - len(str(os.getpid()))
LETTERS = "".join(random.Random(SIZE).choices("abcdefghijklmnopqrstuvwxyzäöüß", k=2 * SIZE))


def length_without_text(pid):
    return EMPTY + len(str(pid))


def text_of(poster, number, seed, pid):
    """What the event carries: up to 200 bytes, half the ring, or, one in 64, all of it."""
    chance = (number * 2_654_435_761 + (poster + 1) * 40_503 + seed * 97) & 0xFFFFFFFF
    most = SIZE - length_without_text(pid)
    if chance % 64:
        most = chance >> 8 & (1023 if chance % 8 == 1 else 127)
    text = f"{number:08d}{LETTERS[chance >> 12 & 2047 :][:most]}"
    # Letters take one byte or two.
    return text.encode()[: most + 8].decode(errors="ignore")


def post(parent, bus, poster, batch, seed):
    """Post a batch; the ids."""
    bus.poll()  # which posts `started`
    parent.tell("ready")
    parent.hear()
    event, pid = str(poster), os.getpid()
    return array(
        "q",
        (bus.post("test", event, text_of(poster, number, seed, pid)) for number in range(batch)),
    )


class Reader:
    """One that reads on, but stands still now and then until it is overtaken."""

    def __init__(self, bus, index, seed):
        self.bus = bus
        self.seed = seed
        self.chance = random.Random(seed + index)
        stats = bus.stats()  # once: the others are posting their `started`
        self.next = stats.last_id - stats.lag + 1
        self.end = 0
        self.delivered = array("q")  # id, poster, number
        self.losses = array("q")  # first, last, what was the last id by then
        self.torn = 0
        self.misled = []  # what `lost` said that cannot be

    def read(self, parent):
        """Read all events up to an end; the reader itself is the account."""
        self.bus.register(self.note)
        self.bus.poll()  # which posts `started`
        parent.tell("ready")
        self.end = parent.hear()
        while self.next <= self.end:
            self.bus.poll()
            time.sleep(0)
        return self.delivered, self.losses, self.torn, self.misled, self.bus.stats()

    def note(self, data, event, source, pid):
        if event == "lost":
            if data["first"] != self.next or data["count"] != data["last"] - data["first"] + 1:
                self.misled.append((self.next, data))
            self.losses.extend((data["first"], data["last"], self.bus.stats().last_id))
            self.next = data["last"] + 1
            return
        if source == "test":
            poster, number = int(event), int(data[:8])
            self.torn += data != text_of(poster, number, self.seed, pid)
            self.delivered.extend((self.next, poster, number))
        else:
            self.delivered.extend((self.next, -1, 0))
        self.next += 1
        if self.chance.random() < 0.005:
            overtaken = min(self.end, self.next + self.chance.randrange(3 * SLOTS))
            while self.bus.stats().last_id < overtaken:
                time.sleep(0)


def triples(numbers):
    return zip(*[iter(numbers)] * 3)


def settle(campaign, account, posted, ends, first, end):
    """Compare a reader's account with what was posted: `posted[id]`, which ends at `ends[id]`."""
    delivered, losses, torn, misled, stats = account
    campaign.count("torn", torn)
    campaign.count("unexpected", len(misled) + stats.handler_errors)
    if misled or stats.handler_errors:
        print(f"misled: {misled}; {stats}")
    seen = set()
    for number, poster, count in triples(delivered):
        seen.add(number)
        if posted.get(number, (-1, 0)) != (poster, count):
            campaign.count("reordered")
    campaign.count("duplicated", len(delivered) // 3 - len(seen))
    told = set()
    for first_lost, last_lost, last in triples(losses):
        told.update(range(first_lost, last_lost + 1))
        # Event `last + 1` may be being written.
        overwritten = last_lost + SLOTS <= last + 1
        if not overwritten and last_lost > first:
            overwritten = ends[last_lost - 1] + SIZE < ends[min(last + 1, end)]
        if not overwritten and last_lost > first:
            campaign.count("unexpected")
            print(f"no loss: {first_lost} to {last_lost}, when {last} was the last event")
    campaign.count("duplicated", len(seen & told))
    campaign.count("lost", len(set(posted) - seen - told))
    if len(told) != stats.lost or len(delivered) // 3 != stats.handled:
        campaign.count("unexpected")
        print(f"{len(delivered) // 3} delivered, {len(told)} lost; {stats}")
    campaign.count("overtaken", len(losses) // 3)


def test_lapped_readers(campaign, name, fork):
    """G1, G2, G3: delivered + lost = posted, `lost` says the right ids, and is no excuse."""
    batch = campaign.size(10_000, 25_000)
    rounds = campaign.size(2, 200)
    for number in range(rounds):
        seed = campaign.seed + number
        bus = stdevents.Bus(name, size=SIZE, interval=0, wait_max=20)
        readers = [fork(Reader(bus, index, seed).read) for index in range(READERS)]
        posters = [fork(post, bus, poster, batch, seed) for poster in range(POSTERS)]
        for child in readers + posters:
            child.hear()
        first = bus.stats().last_id
        end = first + POSTERS * batch
        for reader in readers:
            reader.say(end)
        for poster in posters:
            poster.say()
        posted = {}
        for poster, child in enumerate(posters):
            ids = child.result()
            campaign.count("reordered", list(ids) != sorted(set(ids)))
            posted.update((identifier, (poster, index)) for index, identifier in enumerate(ids))
        campaign.count("unexpected", sorted(posted) != list(range(first + 1, end + 1)))
        lengths = [0] * (first + 1)  # where `first` ends, nobody needs to know
        for identifier in range(first + 1, end + 1):
            poster, index = posted[identifier]
            pid = posters[poster].pid
            text = text_of(poster, index, seed, pid)
            lengths.append(len(text[8:].encode()) + length_without_text(pid))
        ends = list(accumulate(lengths))
        for reader in readers:
            settle(campaign, reader.result(), posted, ends, first, end)
        bus.close()
        campaign.progress("lapped readers", (number + 1) * POSTERS * batch)
    assert campaign.counts["overtaken"] > rounds * 20
    campaign.end("lapped readers", rounds * POSTERS * batch)
