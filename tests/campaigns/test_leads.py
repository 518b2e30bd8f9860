"""`lead` by workers that are killed, stopped, forked, and lose their bus: one of them, never two.

In a round all ask at once, and exactly one is told that it leads: the one that led before, unless
it was killed, gave up, or the bus was removed under it. What is done to them comes at any instant,
also in the middle of an ask.
"""

from __future__ import annotations

import logging
import os
import time

from inside import remove_folder, remove_memory
from state import assert_removed

import stdevents

NAME = "leads"
TASK = "task"
WORKERS = 4
LONGEST = 0.0005  # seconds from an ask to what is done to who asks


def live(parent, bus, name, until):
    """Be a worker that does what it is told, and tells what came of it."""
    logging.getLogger("stdevents").setLevel(logging.CRITICAL)  # that the bus was removed
    bus.close()
    bus.configure(name, interval=0, wait_max=20)
    parent.tell()
    while True:
        heard = parent.hear()
        if heard == "fork":
            parent.tell(fork_one_that_asks(bus, until))
        else:
            parent.tell(bus.lead(TASK, give_up=heard == "give up"))


def fork_one_that_asks(bus, until):
    """A child that asks, and lives until it can read a byte from there; what it was told."""
    told, tells = os.pipe()
    if not os.fork():
        os.write(tells, b"1" if bus.lead(TASK) else b"0")
        os.read(until, 1)
        os._exit(0)
    outcome = os.read(told, 1) == b"1"
    for number in (told, tells):
        os.close(number)
    return outcome


class Crowd:
    """The workers, of which one leads or none, as their parent knows."""

    def __init__(self, campaign, bus, name, fork):
        self.campaign = campaign
        self.chance = campaign.random
        self.bus = bus
        self.name = name
        self.fork = fork
        self.workers = {}  # by pid
        self.leader = None  # its pid
        self.until, self.let_go = os.pipe()  # of children of theirs
        for _ in range(WORKERS):
            self.add()

    def add(self):
        child = self.fork(live, self.bus, self.name, self.until)
        child.hear()
        self.workers[child.pid] = child

    def kill(self, pid):
        self.workers.pop(pid).kill()
        self.campaign.count("killed")
        if pid == self.leader:
            self.leader = None

    def ask_all(self):
        """All ask at once."""
        pids = list(self.workers)
        self.chance.shuffle(pids)
        for pid in pids:
            self.workers[pid].say("lead")
        leaders = [pid for pid in pids if self.workers[pid].hear()]
        if not leaders:
            self.campaign.count("lost")
        elif len(leaders) > 1:
            self.campaign.count("duplicated")
        elif self.leader not in (None, leaders[0]):
            self.campaign.count("unexpected")
        self.leader = leaders[0] if leaders else None

    def do_one(self):
        """One case: something is done to one of them, mostly to the leader."""
        some = self.chance.choice(sorted(self.workers))
        who = self.leader if self.leader and self.chance.randrange(4) else some
        what = self.chance.choice(
            ("kill",) * 8 + ("kill in an ask",) * 8 + ("fork and kill", "give up", "stop", "remove")
        )
        worker = self.workers[who]
        if what == "kill in an ask":
            worker.say("lead")
            time.sleep(self.chance.random() * LONGEST)
        elif what == "fork and kill":
            worker.say("fork")
            if worker.hear():
                self.campaign.count("duplicated")  # the child is a worker of its own
        elif what == "give up":
            worker.say("give up")
            worker.hear()
            self.leader = None if who == self.leader else self.leader
        elif what == "stop":
            self.ask_while_it_stands_still(worker)
        elif what == "remove":
            remove_folder(self.name)
            remove_memory(self.name)
            self.leader = None
            self.campaign.count("removed")
        if "kill" in what:
            self.kill(who)
        self.ask_all()
        if what == "fork and kill":
            os.write(self.let_go, b"!")
        if "kill" in what:
            self.add()

    def ask_while_it_stands_still(self, worker):
        """A leader that is stopped is the leader."""
        worker.stop()
        for pid, other in self.workers.items():
            if other is not worker:
                other.say("lead")
                if other.hear() and self.leader not in (None, pid):
                    self.campaign.count("duplicated")
        worker.go_on()


def test_leads(campaign, name, fork):
    """DESIGN 3: never two, and never nobody for longer than an ask."""
    bus = stdevents.Bus(name, interval=0)
    crowd = Crowd(campaign, bus, name, fork)
    bus.close()
    cases = campaign.size(200, 10_000)
    for case in range(cases):
        crowd.do_one()
        campaign.progress(NAME, case)
    for pid in tuple(crowd.workers):
        crowd.kill(pid)
    os.close(crowd.until)
    os.close(crowd.let_go)
    bus.configure(name, interval=0)
    while len(bus.workers()) > 1:  # until the last child of theirs has died, too
        pass
    assert bus.lead(TASK)
    bus.close()
    assert_removed(name)
    campaign.end(NAME, cases)
