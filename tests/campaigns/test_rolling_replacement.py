"""8 workers under load, each replaced again and again, gently or by SIGKILL.

A new one is forked first, goes on where its parent was, and misses nothing. Between them they run
each job once; a job in the hands of one that is killed is gone with it.
"""

from __future__ import annotations

import os
import select
import time
from collections import Counter
from struct import Struct

from state import assert_alone, assert_sound

import stdevents

NAME = "rolling replacement"
WORKERS, POSTERS = 8, 2
BURST = 30  # events of each poster while one worker is replaced
PER_JOB = 5  # events
LAG = 4_000  # events at most; a quarter of the bus
job = Struct("=2I")  # poster, number


class Account:
    """What one worker was given: of each poster all numbers, from the one on that is expected."""

    def __init__(self, expected):
        self.expected = list(expected)
        self.counts = Counter()

    def note(self, number, event, source, pid):
        poster = int(event)
        if number != self.expected[poster]:
            self.counts["reordered" if number > self.expected[poster] else "duplicated"] += 1
        self.expected[poster] = number + 1


def post(parent, bus, poster):
    """Post a burst whenever the parent says so; every few events a job for one of the workers."""
    number = 0
    while True:
        for _ in range(parent.hear()):
            bus.post("load", str(poster), number)
            if number % PER_JOB == 0:
                bus.post("job", str(poster), number, unique=f"{poster} {number}")
            number += 1
        bus.poll()
        parent.tell(number)


def work(parent, fleet):
    """Live as a worker until the parent says that it is enough."""
    bus, account = fleet.bus, Account(fleet.account.expected)
    bus.unregister(fleet.account.note, "load")
    bus.unregister(fleet.note_stopping, "stdevents", "stopping")
    bus.register(account.note, "load")
    bus.register(run_job(fleet.ran), "job")
    bus.configure(interval=0.05)
    parent.tell("works")
    parent.hear()
    account.counts["lost"] = bus.stats().lost
    bus.close()
    return account.counts


def run_job(pipe):
    """A handler that says in the pipe what it has run."""
    return lambda number, event, source, pid: os.write(pipe, job.pack(int(event), number))


class Fleet:
    """The workers, and their parent, which reads along."""

    def __init__(self, campaign, bus, fork):
        self.campaign = campaign
        self.bus = bus
        self.fork = fork
        self.account = Account([0] * POSTERS)
        self.stopped = []
        self.jobs = Counter()
        self._running, self.ran = os.pipe()
        bus.register(self.account.note, "load")
        bus.register(self.note_stopping, "stdevents", "stopping")
        self.posters = [fork(post, bus, poster) for poster in range(POSTERS)]
        self.workers = [self.start_one() for _ in range(WORKERS)]

    def note_stopping(self, data, event, source, pid):
        self.stopped.append(pid)

    def start_one(self):
        worker = self.fork(work, self)
        assert worker.hear() == "works"
        return worker

    def replace(self):
        """A new one in the place of any, under load."""
        for poster in self.posters:
            poster.say(BURST)
        chance = self.campaign.random
        old = self.workers.pop(chance.randrange(WORKERS))
        successor_first, gently = chance.randrange(2) == 0, chance.randrange(4) > 0
        if successor_first:
            self.workers.append(self.start_one())
        (self.end_gently if gently else self.kill)(old)
        if not successor_first:
            self.workers.append(self.start_one())
        for poster in self.posters:
            poster.hear()
        self.catch_up(LAG)
        pids = {child.pid for child in (*self.workers, *self.posters)}
        assert {worker.pid for worker in self.bus.workers()} == {*pids, os.getpid()}

    def end_gently(self, worker):
        worker.say()
        self.campaign.counts.update(worker.result())
        self.bus.poll()
        assert self.stopped.pop() == worker.pid

    def kill(self, worker):
        worker.kill()
        self.campaign.count("killed")

    def catch_up(self, lag):
        """Read what there is, and which jobs were run; until no worker lags more than that."""
        self.bus.poll()
        pids = {child.pid for child in self.workers}
        while any(worker.lag > lag for worker in self.bus.workers() if worker.pid in pids):
            time.sleep(0.01)
        while select.select([self._running], [], [], 0)[0]:
            self.jobs.update(job.iter_unpack(os.read(self._running, 1000 * job.size)))

    def end(self):
        """All is read to its end, and all of them go; returns the jobs that were run."""
        self.catch_up(0)
        for worker in self.workers:
            self.end_gently(worker)
        self.workers.clear()
        for poster in self.posters:
            poster.kill()
        self.catch_up(0)
        os.close(self._running)
        os.close(self.ran)
        return self.jobs


def test_rolling_replacement(campaign, name, fork):
    """G1, G2, G4, G5, G7, G9: no gap for anybody, each job at most once, no slot left behind."""
    bus = stdevents.Bus(name, size="4m", interval=0, wait_max=20)
    fleet = Fleet(campaign, bus, fork)
    cases = campaign.size(100, 5_000)
    for case in range(cases):
        fleet.replace()
        campaign.progress(NAME, case)
    jobs = fleet.end()
    campaign.counts.update(fleet.account.counts)
    assert fleet.account.expected == [cases * BURST] * POSTERS
    in_hand = cases * BURST // PER_JOB * POSTERS - len(jobs)
    campaign.count("jobs", len(jobs))
    campaign.count("died in hand", in_hand)
    campaign.count("lost", max(0, in_hand - campaign.counts["killed"]))
    campaign.count("duplicated", sum(jobs.values()) - len(jobs))
    assert fleet.stopped == []
    assert bus.stats().lost == bus.stats().handler_errors == 0
    assert_sound(name)
    assert_alone(bus)
    bus.close()
    campaign.end(NAME, cases)
