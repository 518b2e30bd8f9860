"""`wait` beside workers that are killed, stopped, forked and joined: True only if all are done.

Each worker notes, in memory that all share, which event its handler was done with last. When a wait
says True, that has to be the event, or a later one, for every worker that lives and was there
before the event.
"""

from __future__ import annotations

import asyncio
import mmap
import random
import signal
import time

import stdevents
from stdevents import aio

NAME = "waits"
WORKERS = 4
LIVES = 1 << 16
PATIENT = 20  # seconds
LONGEST = 0.001  # seconds in a handler, and from a post to what is done to a worker
PLAIN, COROUTINES = range(2)


class Notes:
    """What was done last, by the number of a worker's life."""

    def __init__(self):
        self.words = memoryview(mmap.mmap(-1, 8 * LIVES)).cast("Q")

    def handler(self, life, chance):
        """A handler that takes a while, and notes its event when it is done."""

        def handle(data, event, source, pid):
            time.sleep(chance.random() * LONGEST)
            self.words[life] = data

        return handle

    def coroutine(self, life, chance):
        """A coroutine function that does so, beside others of its kind."""

        async def handle(data, event, source, pid):
            await asyncio.sleep(chance.random() * LONGEST)
            # Tasks end in any order: the next event may be noted already.
            self.words[life] = max(data, self.words[life])

        return handle


def live(parent, bus, notes, life, kind, seed):
    """Be a worker, until one is killed."""
    chance = random.Random(seed)
    if kind == PLAIN:
        bus.register(notes.handler(life, chance), "test")
        bus.configure(interval=1)
        parent.tell()
        while True:
            signal.pause()

    async def main():
        async with aio.AsyncBus(bus) as attached:
            attached.register(notes.coroutine(life, chance), "test")
            parent.tell()
            await asyncio.Event().wait()

    asyncio.run(main())


class Crowd:
    """The workers, and their parent, which posts and waits."""

    def __init__(self, campaign, bus, fork):
        self.campaign = campaign
        self.chance = campaign.random
        self.bus = bus
        self.fork = fork
        self.notes = Notes()
        self.lives = 0
        self.workers = {}  # by life
        self.mine = self.notes.handler(0, self.chance)
        bus.register(self.mine, "test")
        for _ in range(WORKERS):
            self.add(heard=True)

    def add(self, heard):
        """One more; if not `heard`, it may be anywhere in its beginning."""
        self.lives += 1
        kind = self.chance.randrange(2)
        child = self.fork(self._live, self.lives, kind, self.chance.random())
        if heard:
            child.hear()
        self.workers[self.lives] = child

    def _live(self, parent, life, kind, seed):
        self.bus.unregister(self.mine, "test")
        live(parent, self.bus, self.notes, life, kind, seed)

    def wait_once(self, number):
        """Post, do something to one of the workers, wait, and look."""
        there = tuple(self.workers)
        event_id = self.bus.post("test", "event", number)
        what = self.chance.randrange(16)
        time.sleep(self.chance.random() * LONGEST)
        if what == 0:
            self.kill(self.chance.choice(there))
            self.add(heard=True)
        elif what == 1:
            self.add(heard=True)
            self.kill(self.chance.choice(there))
        elif what == 2:
            self.stop(self.chance.choice(there), event_id, number, there)
        if not self.bus.wait(event_id, PATIENT):
            self.campaign.count("lost")
            print(f"not done: {number}, {self.bus.workers()}")
        self.look(number, there)

    def kill(self, life):
        self.workers.pop(life).kill()
        self.campaign.count("killed")

    def stop(self, life, event_id, number, there):
        """A wait while a worker stands still: what it says has to be right."""
        self.workers[life].stop()
        if self.bus.wait(event_id, 0.02):
            self.look(number, there)
        else:
            self.campaign.count("waited for one that was stopped")
        self.workers[life].go_on()

    def look(self, number, there):
        """All that live, and were there, are done with it; and so is this process."""
        for life in (0, *there):
            if (life == 0 or life in self.workers) and self.notes.words[life] < number:
                self.campaign.count("unexpected")
                print(f"life {life} has come to {self.notes.words[life]}, not to {number}")


def test_waits(campaign, name, fork):
    """DESIGN 3: True only if the handlers of all had returned; and never False but in time."""
    bus = stdevents.Bus(name, interval=0, wait_max=20)
    crowd = Crowd(campaign, bus, fork)
    waits = campaign.size(400, 10_000)
    for number in range(1, waits + 1):
        crowd.wait_once(number)
        campaign.progress(NAME, number)
    for life in tuple(crowd.workers):
        crowd.kill(life)
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()
    campaign.end(NAME, waits)
