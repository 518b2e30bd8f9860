"""SIGKILL at random instants: 8 posters and 4 readers, and a new one in the place of each killed.

A poster tells the id of each event that was acknowledged to it; what was delivered is laid beside
that when it is dead. The readers see what the parent sees, in the same order.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from zlib import crc32

from state import assert_alone, assert_sound

import stdevents

NAME = "random SIGKILL"
POSTERS, READERS = 8, 4
BURST = 16  # events at most that a poster posts at one go
BLOCK = 64  # ids; readers are compared block by block


def text_of(life, number):
    """What that event carries: of some length, and no other one's."""
    return f"{life} {number}." * ((life + number) * 7_919 % 200)


class Account:
    """What one process was given, looked at as it comes; the parent's is what others have to be."""

    def __init__(self, bus, count, tell_block):
        stats = bus.stats()
        self.next = stats.last_id - stats.lag + 1
        self.delivered = defaultdict(list)  # ids, by the life of their poster
        self._numbers = {}
        self._count = count
        self._tell_block = tell_block
        self._sum = None  # of the block, if it was seen from its beginning
        bus.register(self.note)

    def note(self, data, event, source, pid):
        if (source, event) == ("stdevents", "lost"):
            if (data["first"], data["last"] - data["first"]) != (self.next, data["count"] - 1):
                self._count("unexpected")
            self.next = data["last"] + 1
            self._sum = None
            self._numbers.clear()
            return
        if source == "test":
            self._note_post(int(event), *data)
        self._add_to_block(f"{source} {event} {data and data[0]} {pid}")
        self.next += 1

    def _note_post(self, life, number, text):
        if text != text_of(life, number):
            self._count("torn")
        expected = self._numbers.get(life, number)
        if number != expected:
            self._count("duplicated" if number < expected else "reordered")
        self._numbers[life] = number + 1
        self.delivered[life].append(self.next)

    def _add_to_block(self, what):
        block, place = divmod(self.next, BLOCK)
        if place == 0:
            self._sum = 0
        if self._sum is not None:
            self._sum = crc32(what.encode(), self._sum)
            if place == BLOCK - 1:
                self._tell_block(block, self._sum)

    def settle(self, life, acknowledged):
        """A poster is dead, and all that it posted is delivered: was it what it thinks?"""
        delivered = self.delivered.pop(life, [])
        self._numbers.pop(life, None)
        if delivered[: len(acknowledged)] != acknowledged:
            lost = set(acknowledged) - set(delivered)
            self._count("lost" if lost else "reordered", len(lost) or 1)
        more = len(delivered) - len(acknowledged)
        self._count("recovered" if more <= 1 else "unexpected", max(0, more))


def live_as_poster(parent, bus, life):
    """Post without end, as many as one is told to."""
    number = 0
    while True:
        for _ in range(parent.hear()):
            parent.tell(bus.post("test", str(life), [number, text_of(life, number)]))
            number += 1


def live_as_reader(parent, bus):
    """Read until all is over, and tell each block; and what was wrong, at once."""
    over = threading.Event()
    account = Account(
        bus, lambda word: parent.tell((word, 1)), lambda *block: parent.tell(("block", block))
    )
    bus.register(lambda *_: account.delivered.clear(), "test")  # nobody asks here
    bus.register(lambda *_: over.set(), "end")
    bus.configure(interval=1)
    over.wait()
    parent.tell(("lost here", bus.stats().lost))


class Poster:
    """A poster, as the parent sees it."""

    def __init__(self, child):
        self.child = child
        self.acknowledged = []  # ids
        self.burst_to_come = 0  # how many ids it has still to tell

    def post_more(self, count):
        """Have it post so many, if it is done with those before."""
        if not self.burst_to_come:
            self.child.say(count)
            self.burst_to_come = count

    def hear(self, count):
        """Wait for so many more ids, as far as there are to come."""
        for _ in range(min(count, self.burst_to_come)):
            self._note([self.child.hear()])

    def hear_new(self):
        """What it has told up to now."""
        self._note(self.child.hear_new())

    def _note(self, ids):
        self.acknowledged += ids
        self.burst_to_come -= len(ids)

    def kill(self):
        """End it, and take what it has told until then."""
        self.child.kill()
        self._note(self.child.hear_all())


class Crowd:
    """Posters and readers; the parent, which watches them, and is told by them."""

    def __init__(self, campaign, bus, fork):
        self.campaign = campaign
        self.bus = bus
        self.fork = fork
        self.lives = 0
        self.blocks = {}
        self.told_blocks = []
        self.account = Account(bus, campaign.count, self.blocks.__setitem__)
        self.posters = {}  # by life
        self.readers = []
        for _ in range(POSTERS):
            self.add_poster()
        for _ in range(READERS):
            self.add_reader()

    def add_poster(self):
        self.lives += 1
        child = self.fork(self._leave_watching, live_as_poster, self.lives)
        self.posters[self.lives] = Poster(child)

    def add_reader(self):
        self.readers.append(self.fork(self._leave_watching, live_as_reader))

    def _leave_watching(self, parent, live, *arguments):
        self.bus.unregister(self.account.note)
        live(parent, self.bus, *arguments)

    def kill_poster(self):
        """One in the middle of a burst, or at its end."""
        chance = self.campaign.random
        life = chance.choice(sorted(self.posters))
        poster = self.posters.pop(life)
        poster.post_more(chance.randrange(1, BURST))
        poster.hear(chance.randrange(BURST))
        poster.kill()
        self.bus.poll()
        self.account.settle(life, poster.acknowledged)

    def kill_reader(self):
        """One that is reading what is just being posted, or is only beginning to."""
        child = self.readers.pop(self.campaign.random.randrange(READERS))
        child.kill()
        self._note_told(child.hear_all())

    def go_on(self):
        """Have all of them post more; and read what they have posted, and told."""
        for poster in self.posters.values():
            poster.hear_new()
            poster.post_more(self.campaign.random.randrange(1, BURST))
        for child in self.readers:
            self._note_told(child.hear_new())
        self.bus.poll()

    def _note_told(self, told):
        for word, what in told:
            if word == "block":
                self.told_blocks.append(what)
            else:
                self.campaign.count(word, what)

    def end(self):
        """All posters die; the readers read to the end."""
        while self.posters:
            self.kill_poster()
        self.bus.post("end", "end")
        for child in self.readers:
            told = []
            while not told or told[-1][0] != "lost here":
                told.append(child.hear())
            child.kill()
            self._note_told(told)
        self.bus.poll()
        same = sum(self.blocks.get(block) == number for block, number in self.told_blocks)
        self.campaign.count("blocks read alike", same)
        self.campaign.count("reordered", len(self.told_blocks) - same)


def test_random_sigkill(campaign, name, fork):
    """G1, G2, G3, G5: nothing acknowledged is lost, nothing is twice, torn, or in another order."""
    bus = stdevents.Bus(name, size="16m", interval=0, wait_max=20)
    bus.poll()
    crowd = Crowd(campaign, bus, fork)
    kills = campaign.size(200, 20_000)
    for kill in range(kills):
        crowd.go_on()
        if campaign.random.randrange(POSTERS + READERS) < POSTERS:
            crowd.kill_poster()
            crowd.add_poster()
        else:
            crowd.kill_reader()
            crowd.add_reader()
        campaign.progress(NAME, kill)
    crowd.end()
    assert_sound(name)
    assert_alone(bus)
    assert bus.stats().lost == 0  # the parent never fell behind; so it could judge
    assert bus.stats().handler_errors == 0
    campaign.count("events", bus.stats().last_id)
    bus.close()
    campaign.end(NAME, kills)
