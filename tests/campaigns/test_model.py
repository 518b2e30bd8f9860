"""A model-based run: worker processes in any order of steps, against a list and a few numbers.

Steps are done one at a time, so that the model knows all that has to come of each: which events a
poll delivers, which are lost by then, which post finds no room, who claims what.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing import Pipe

import pytest
from inside import folder_of

hypothesis = pytest.importorskip("hypothesis", reason="of the tox environment `model`")

from children import SECONDS, Child  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.stateful import (  # noqa: E402
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

import stdevents  # noqa: E402

MOST = 4  # workers at a time
FORKS = 6  # of one run of steps
OPTIONS = {"interval": 0, "timeout": 1000, "wait_max": 5, "shm_retries": 0}
KEYS = ("a", "b", "c")


# -- the model -------------------------------------------------------------------------------------


@dataclass
class Event:
    source: str
    name: str
    data: object
    pid: int
    unique: str | None
    start: int
    end: int
    decided: bool = False  # of a unique one: taken, or ignored


@dataclass
class Worker:
    position: int
    listens: bool = True
    local: list = field(default_factory=list)
    posted: int = 0
    handled: int = 0
    unhandled: int = 0
    lost: int = 0
    ignored: int = 0
    errors: int = 0


class Model:
    """What a bus is: a list of events, of which the oldest are overwritten."""

    def __init__(self, size, overflow):
        self.size, self.slots, self.waits = size, size // 256, overflow == "wait"
        self.events = []
        self.keys = {}
        self.workers = {}

    @property
    def last(self):
        return len(self.events)

    @property
    def end(self):
        return self.events[-1].end if self.events else 0

    def is_overwritten(self, number):
        """Are bytes of it overwritten?"""
        return self.events[number - 1].start + self.size < self.end

    def has_slot(self, number):
        return number > self.last - self.slots

    def oldest(self, first=1):
        """The first event that is there, before which there is a slot to begin at."""
        while first <= self.last and (self.is_overwritten(first) or not self.has_slot(first - 1)):
            first += 1
        return first

    def post(self, pid, source, name, data=None, unique=None):
        """The id, or the name of the error."""
        array = [pid, source, name, data] if unique is None else [pid, source, name, data, unique]
        text = json.dumps(array, ensure_ascii=False, separators=(",", ":"))
        end = self.end + len(text.encode()) + len(",")
        if end - self.end > self.size:
            return "PayloadTooLarge"
        if self.waits and not all(self.has_room(worker, end) for worker in self.workers.values()):
            return "NoRoom"
        self.events.append(Event(source, name, data, pid, unique, self.end, end))
        self.workers[pid].posted += 1
        return self.last

    def has_room(self, worker, end):
        """For one event more? The slot of the one that it took last is needed, too."""
        if worker.position == self.last:
            return True
        start = self.events[worker.position].start
        return self.last + 1 < worker.position + self.slots and end <= start + self.size

    def join(self, pid, start):
        worker = self.workers[pid] = Worker(self.last)
        self.post(pid, "stdevents", "started")
        if start == "oldest":
            worker.position = self.oldest() - 1

    def fork(self, pid, child):
        parent = self.workers[pid]
        self.workers[child] = Worker(parent.position, parent.listens)
        self.post(child, "stdevents", "started")

    def leave(self, pid):
        self.post(pid, "stdevents", "stopping")
        self.kill(pid)

    def kill(self, pid):
        del self.workers[pid]
        if not self.workers:
            self.events, self.keys = [], {}

    def poll(self, pid):
        """All that its handlers are given."""
        worker = self.workers[pid]
        given = [(*event, None) for event in worker.local]
        worker.errors += worker.listens and sum(data == "raise" for _, _, data in worker.local)
        worker.local = []
        first = oldest = worker.position + 1
        # It knows where the next event begins, and needs no slots as long as all bytes are there.
        if first <= self.last and self.is_overwritten(first):
            oldest = self.oldest(first)
            given.append(self.lose(worker, first, oldest - 1))
        for number in range(oldest, self.last + 1):
            event = self.events[number - 1]
            if event.unique is not None and worker.listens:
                if not self.has_slot(number):  # in which would stand who handles it
                    given.append(self.lose(worker, number, number))
                    continue
                if not self.claim(number, event):
                    worker.ignored += 1
                    continue
            if worker.listens or event.source == "stdevents":
                worker.handled += 1
            else:
                worker.unhandled += 1
            worker.errors += worker.listens and event.data == "raise"
            given.append((event.source, event.name, event.data, event.pid))
        worker.position = self.last
        if not worker.listens:
            given = []
        return given

    def lose(self, worker, first, last):
        """What its handlers are given for that."""
        worker.lost += last - first + 1
        what = {"first": first, "last": last, "count": last - first + 1}
        return ("stdevents", "lost", what, None)

    def claim(self, number, event):
        if event.decided:
            return False
        event.decided = True
        return self.keys.setdefault(event.unique, number) == number


# -- the workers -----------------------------------------------------------------------------------


class Server:
    """A worker process: does what it is told, and tells what came of it."""

    def __init__(self, name, size, overflow, spare):
        self.options = {**OPTIONS, "size": size, "overflow": overflow}
        self.name = name
        self.spare = spare
        self.bus = stdevents.Bus()
        self.given = []
        self.bus.register(self.note)

    def note(self, data, event, source, pid):
        self.given.append((source, event, data, pid))
        if data == "raise":
            raise RuntimeError("of a handler")

    def serve(self, hear, tell):
        while True:
            signal.alarm(SECONDS)
            what, *arguments = hear()
            try:
                tell(getattr(self, what)(*arguments))
            except stdevents.StdeventsError as error:
                tell(type(error).__name__)

    def join(self, start):
        self.bus.configure(self.name, start=start, **self.options)

    def post(self, *arguments):
        return self.bus.post(*arguments)

    def post_local(self, *arguments):
        self.bus.post_local(*arguments)

    def poll(self):
        assert self.bus.poll() == "done"
        given, self.given = self.given, []
        return given

    def stats(self):
        stats = self.bus.stats()
        counts = stats.posted, stats.handled, stats.unhandled, stats.lost, stats.ignored
        return (*counts, stats.handler_errors, stats.last_id, stats.lag)

    def workers(self):
        return sorted((worker.pid, worker.position) for worker in self.bus.workers())

    def listen(self, listens):
        if listens:
            self.bus.register(self.note)
        else:
            self.bus.unregister(self.note)

    def fork(self, number):
        pid = os.fork()
        if not pid:
            self.given = []
            pipe = self.spare[number][1]
            self.serve(pipe.recv, pipe.send)
        return pid

    def leave(self):
        self.bus.close()


def live(parent, *arguments):
    Server(*arguments).serve(parent.hear, parent.tell)


class Forked:
    """A child of a worker, reached by a pipe that was there before it."""

    def __init__(self, pid, pipe):
        self.pid, self.say, self.hear = pid, pipe.send, pipe.recv

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        # It is not ours to wait for; as a zombie it has let go of its files.
        while True:
            try:
                with open(f"/proc/{self.pid}/stat") as file:
                    if file.read().rpartition(")")[2].split()[0] in "ZX":
                        return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0)


# -- the run ---------------------------------------------------------------------------------------

data = st.one_of(
    st.just("raise"),
    st.integers(-(10**20), 10**20),
    st.text(max_size=20),
    st.lists(st.booleans(), max_size=5),
    st.integers(0, 1100).map("ä".__mul__),  # up to more than there is room for
)
which = st.integers(0, MOST - 1)


class Machine(RuleBasedStateMachine):
    """The steps, each done by the workers and by the model."""

    name = ""
    steps = 0

    @initialize(size=st.sampled_from((1024, 2048)), overflow=st.sampled_from(("drop", "wait")))
    def begin(self, size, overflow):
        self.model = Model(size, overflow)
        self.spare = [Pipe() for _ in range(FORKS)]
        self.forks = 0
        self.arguments = (self.name, size, overflow, self.spare)
        self.processes = {}
        self.join("new")

    def step(self, which=0):
        """Count one, and choose a worker for it."""
        type(self).steps += 1
        signal.alarm(SECONDS)
        return sorted(self.processes)[which % len(self.processes)]

    def do(self, pid, *what):
        self.processes[pid].say(what)
        return self.processes[pid].hear()

    @rule(start=st.sampled_from(("new", "oldest")))
    @precondition(lambda self: len(self.processes) < MOST)
    def join(self, start):
        process = Child(live, *self.arguments)
        self.processes[process.pid] = process
        self.step()
        assert self.do(process.pid, "join", start) is None
        self.model.join(process.pid, start)

    @rule(which=which)
    @precondition(lambda self: len(self.processes) < MOST and self.forks < FORKS)
    def fork(self, which):
        pid = self.step(which)
        child = self.do(pid, "fork", self.forks)
        self.processes[child] = Forked(child, self.spare[self.forks][0])
        self.forks += 1
        self.do(child, "stats")  # it is there now
        self.model.fork(pid, child)

    @rule(which=which, source=st.sampled_from("xy"), data=data)
    def post(self, which, source, data):
        pid = self.step(which)
        expected = self.model.post(pid, source, "plain", data)
        assert self.do(pid, "post", source, "plain", data) == expected

    @rule(which=which, data=data, key=st.sampled_from(KEYS))
    def post_unique(self, which, data, key):
        pid = self.step(which)
        expected = self.model.post(pid, "x", "unique", data, key)
        assert self.do(pid, "post", "x", "unique", data, key) == expected

    @rule(which=which, data=data)
    def post_local(self, which, data):
        pid = self.step(which)
        self.model.workers[pid].local.append(("x", "local", data))
        self.do(pid, "post_local", "x", "local", data)

    @rule(which=which)
    def poll(self, which):
        pid = self.step(which)
        assert self.do(pid, "poll") == self.model.poll(pid)
        worker, last = self.model.workers[pid], self.model.last
        counts = worker.posted, worker.handled, worker.unhandled, worker.lost, worker.ignored
        assert self.do(pid, "stats") == (*counts, worker.errors, last, last - worker.position)

    @rule(which=which, listens=st.booleans())
    def listen(self, which, listens):
        pid = self.step(which)
        self.model.workers[pid].listens = listens
        self.do(pid, "listen", listens)

    @rule(which=which)
    def look(self, which):
        pid = self.step(which)
        expected = sorted((pid, worker.position) for pid, worker in self.model.workers.items())
        assert self.do(pid, "workers") == expected

    @rule(which=which)
    @precondition(lambda self: len(self.processes) > 1)
    def leave(self, which):
        pid = self.step(which)
        self.do(pid, "leave")
        self.model.leave(pid)
        self.processes.pop(pid).kill()

    @rule(which=which)
    @precondition(lambda self: len(self.processes) > 1)
    def kill(self, which):
        pid = self.step(which)
        self.processes.pop(pid).kill()
        self.model.kill(pid)

    @rule()
    def start_anew(self):
        """All are killed, and what they leave is taken over."""
        for pid in list(self.processes):
            self.processes.pop(pid).kill()
            self.model.kill(pid)
        self.join("oldest")

    def teardown(self):
        pids = list(getattr(self, "processes", ()))
        for pid in pids[1:]:
            self.processes.pop(pid).kill()
        for pid in pids[:1]:
            self.do(pid, "leave")
            self.processes.pop(pid).kill()
            for ours, theirs in self.spare:
                ours.close()
                theirs.close()
            assert not os.path.exists(folder_of(self.name))


def test_model(campaign, name):
    """G1 to G4, G9, and all counts: step by step what the model says."""
    Machine.name, Machine.steps = name, 0
    examples = campaign.size(40, 1_000)
    run_state_machine_as_test(
        hypothesis.seed(campaign.seed)(Machine),
        settings=hypothesis.settings(
            max_examples=examples,
            stateful_step_count=campaign.size(30, 50),
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
    campaign.end("model", Machine.steps)
