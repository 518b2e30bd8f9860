"""SIGSTOP of a worker that has the lock, in post, claim or `workers()`; for a while or for good.

As long as it stands there, posts give up after `wait_max`, and plain events go on being read.
When it may go on it does what it was at; when it never does, its death frees the lock.
"""

from __future__ import annotations

import os
import signal

import pytest
from inside import has_lock
from seen import Seen
from state import assert_sound, is_locked
from steps import at, with_steps

import stdevents

NAME = "SIGSTOP of the lock holder"
STEPS = 60  # under the lock, at most
TEXT = "é" * 700
AT_ONCE, PATIENT = 0.01, 20  # wait_max


def do_and_stop(parent, bus):
    """Do what the parent says, and stand still at that step since the lock was had, or at the end.

    Returns, and tells, what came of it.
    """
    seen = Seen(bus)
    works = {
        "post": lambda: bus.post("test", "of child", TEXT),
        "claim": lambda: sum(event == "once" for event, *_ in seen.new()),
        "workers": lambda: len(bus.workers()),
    }
    holds = has_lock(bus)

    def stop():
        stops.append(os.kill(os.getpid(), signal.SIGSTOP))

    while True:
        work, step = parent.hear()
        stops = []
        at_step = at(step, stop)
        result = with_steps(works[work], lambda: holds() and at_step())  # noqa: B023
        if not stops:
            stop()
        parent.tell(result)


class Pair:
    """A worker that is stopped, and the parent, which goes on."""

    def __init__(self, campaign, bus, name, fork):
        self.campaign = campaign
        self.bus = bus
        self.name = name
        self.fork = fork
        self.seen = Seen(bus)
        self.child = None

    def stop_once(self, number):
        """One case; no number twice."""
        chance = self.campaign.random
        work, for_ever = chance.choice(("post", "claim", "workers")), chance.randrange(4) == 0
        if self.child is None:
            self.child = self.fork(self._leave_watching, do_and_stop)
        self.bus.post("test", "before", number)
        if work == "claim":
            self.bus.post("test", "once", number, unique=f"key {number}")
        self.child.say((work, chance.randrange(1, STEPS)))
        self.child.wait_until_stopped()
        if is_locked(self.name, patience=0.05):
            self._live_on_beside_it(number, work)
        done = self._never_go_on() if for_ever else self._go_on()
        assert_sound(self.name)
        last = self.bus.stats().last_id
        assert self.bus.post("test", "after", number) == last + 1
        self._judge(number, work, done)

    def _leave_watching(self, parent, live):
        self.bus.unregister(self.seen.note)
        live(parent, self.bus)

    def _live_on_beside_it(self, number, work):
        self.campaign.count("at its work")
        self.bus.configure(wait_max=AT_ONCE)
        with pytest.raises(stdevents.LockTimeout):
            self.bus.post("test", "too early")
        if work == "claim":
            with pytest.raises(stdevents.LockTimeout):
                self.bus.poll()  # not without the lock, and not out of order
        else:
            assert self.bus.poll() == "done"
        assert ("before", number, os.getpid()) in self.seen
        self.bus.configure(wait_max=PATIENT)

    def _go_on(self):
        self.child.go_on()
        return self.child.hear()

    def _never_go_on(self):
        self.campaign.count("for ever")
        self.child.kill()
        self.child = None

    def _judge(self, number, work, done):
        """What the worker did is there once; if it was killed, once or not at all."""
        seen = [(event, data) for event, data, _ in self.seen.new() if event != "started"]
        assert seen.pop(0) == ("before", number)
        assert seen.pop() == ("after", number)
        here = {"post": ("of child", TEXT), "claim": ("once", number)}.get(work)
        times = seen.count(here)
        assert times == len(seen), f"unexpected: {seen}"
        if work == "claim" and done:
            times += done
        if work == "workers":
            assert done in (None, 2)
        elif done is None:
            self.campaign.count("duplicated", max(0, times - 1))
        else:
            self.campaign.count("duplicated" if times > 1 else "lost", abs(times - 1))


def test_sigstop(campaign, name, fork):
    """G2, G4, G5: LockTimeout at the bound; polls of plain events go on; nothing is torn."""
    bus = stdevents.Bus(name, size="8k", interval=0, wait_max=PATIENT)
    bus.poll()
    pair = Pair(campaign, bus, name, fork)
    cases = campaign.size(100, 2_000)
    for number in range(cases):
        pair.stop_once(number)
        campaign.progress(NAME, number)
    if pair.child is not None:
        pair.child.kill()
    assert campaign.counts["at its work"] > cases / 2
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()
    campaign.end(NAME, cases)
