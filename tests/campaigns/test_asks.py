"""`ask` beside workers that are killed: no answer is invented, and none missing of a live worker.

A worker and a poster ask at once. Workers are killed at any instant, by another process, or by
themselves in the middle of their answer.
"""

from __future__ import annotations

import os
import signal
import time

from steps import die

import stdevents

NAME = "asks"
WORKERS = 4
PATIENT = 20  # seconds
LONGEST = 0.002  # seconds from a question to a kill


def answer(data, event, source, pid):
    """What every worker answers: who it is, and what it was asked."""
    number, dies = data
    if dies == os.getpid():
        die()
    return [os.getpid(), number]


def live(parent, bus):
    """Be a worker until it is killed; it has its parent's answerer."""
    bus.configure(interval=1)
    parent.tell()
    while True:
        signal.pause()


def ask_when_told(parent, bus, name):
    """Be a poster that asks what it hears."""
    bus.close()
    with stdevents.Bus(name, role="poster", wait_max=20) as poster:
        parent.tell()
        while True:
            parent.tell(poster.ask("test", "who", parent.hear(), PATIENT))


def kill_when_told(parent, bus):
    """Kill who it is told, after so many seconds."""
    bus.close()
    parent.tell()
    while True:
        pid, seconds = parent.hear()
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        parent.tell()


class Crowd:
    """Workers that answer, their parent, which asks, and who asks and kills beside it."""

    def __init__(self, campaign, bus, name, fork):
        self.campaign = campaign
        self.chance = campaign.random
        self.bus = bus
        self.fork = fork
        self.workers = {}  # by pid
        self.poster = self._start(ask_when_told, bus, name)
        self.killer = self._start(kill_when_told, bus)
        for _ in range(WORKERS):
            self.add()

    def _start(self, *work):
        child = self.fork(*work)
        child.hear()
        return child

    def add(self):
        child = self._start(live, self.bus)
        self.workers[child.pid] = child

    def ask_once(self, number):
        """Two questions at once, and mostly a death; what came of it."""
        victim = self.chance.choice(sorted(self.workers))
        how = self.chance.choice(("not", "not", "in its answer", "by another", "by another"))
        if how == "by another":
            self.killer.say((victim, self.chance.random() * LONGEST))
        question = [number, victim if how == "in its answer" else None]
        by_poster = self.chance.randrange(2)
        if by_poster:
            self.poster.say([-number, question[1]])
        found = {number: self.bus.ask("test", "who", question, PATIENT)}
        if by_poster:
            while not self.poster.has_told():
                self.bus.poll()  # this worker is asked, too, and has no loop
            found[-number] = self.poster.hear()
        if how == "by another":
            self.killer.hear()
        if how != "not":
            self.workers.pop(victim).kill()
            self.campaign.count("killed")
        for asked, answers in found.items():
            self.judge(answers, asked, victim)
        if how != "not":
            self.add()

    def judge(self, answers, number, victim):
        """Who lives has answered; who has died may have."""
        if list(answers) != sorted(answers):
            self.campaign.count("reordered")
        for one in answers.values():
            if one.error is None and one.value != [one.pid, number]:
                self.campaign.count("unexpected")
                print(f"invented: {one} to {number}")
        given = [one.pid for one in answers.values() if one.error is None]
        alive = {os.getpid(), *self.workers}
        if not alive <= set(given):
            self.campaign.count("lost")
            print(f"missing: {alive - set(given)} of {answers}")
        if len(given) != len(set(given)) or not set(given) <= {victim, *alive}:
            self.campaign.count("duplicated")
            print(f"too many: {answers}")
        self.campaign.count("answers", len(given))


def test_asks(campaign, name, fork):
    """DESIGN 3."""
    bus = stdevents.Bus(name, interval=0, wait_max=20)
    bus.answer("test", "who")(answer)
    crowd = Crowd(campaign, bus, name, fork)
    questions = campaign.size(80, 10_000)
    for number in range(1, questions + 1):
        crowd.ask_once(number)
        campaign.progress(NAME, number)
    for worker in crowd.workers.values():
        worker.kill()
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()
    campaign.end(NAME, questions)
