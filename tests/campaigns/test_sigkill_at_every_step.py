"""SIGKILL before every single step of post, poll, claim, fork, join and leave.

A step is an opcode of the package in the long size. In the quick one it is a line of a post, and
some lines further on in all else.
"""

from __future__ import annotations

import os

from inside import put_off_hook_of_child
from seen import Seen
from state import assert_alone, assert_removed, assert_sound
from steps import at, die, with_steps

import stdevents

NAME = "SIGKILL at every step"
SMALL, WRAPPING = "é", "é" * 1_500  # the bus has room for one of the second kind, and a part


class Deaths:
    """Children that do some work, and are killed in it: the first before step 1, and so on."""

    def __init__(self, campaign, fork):
        self.cases = 0
        self.campaign = campaign
        self.fork = fork

    def of(self, work, before=lambda: None, quick_stride=1):
        """Until one gets through: (child, whether it got through), when it is dead."""
        stride = self.campaign.size(quick_stride, 1)
        step, finished = self.campaign.random.randrange(stride), False
        while not finished:
            step += stride
            child = self.fork(self._live, work, before, step)
            finished = child.wait() == 0
            self.cases += 1
            self.campaign.progress(NAME, self.cases)
            yield child, finished
        assert step > 20, "that was no work"

    def _live(self, parent, work, before, step):
        before()
        with_steps(work, at(step, die), opcodes=self.campaign.long)


def post(deaths, name, text, unique=None):
    """It is there or is not, as it was killed before P4 or after; the next id is dense."""
    bus = stdevents.Bus(name, size=4096, interval=0, timeout=1e-6)
    seen = Seen(bus)
    seen.new()
    published = []
    for child, _ in deaths.of(lambda: bus.post("test", "killed", text, unique)):
        assert_sound(name)
        assert_alone(bus)
        last = bus.stats().last_id
        assert bus.post("test", "after") == last + 1
        *killed, after = seen.new()
        # A forked child posts it right before its own first event.
        begun = killed[:1] == [("started", None, child.pid)]
        del killed[:begun]
        assert begun or not killed
        assert killed in ([], [("killed", text, child.pid)])
        assert after == ("after", None, os.getpid())
        published.append(bool(killed))
    assert not published[0]
    assert published[-1]
    deaths.campaign.count("recovered", sum(published) - 1)
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()


def poll(deaths, name):
    """Nobody else is disturbed by a reader's death."""
    bus = stdevents.Bus(name, size=4096, interval=0)
    seen = Seen(bus)
    seen.new()
    events = [("killed", text, os.getpid()) for text in (SMALL, WRAPPING)]

    def post_both():
        for event, text, _ in events:
            bus.post("test", event, text)

    post_both()
    for child, _ in deaths.of(bus.poll, quick_stride=3):
        assert_sound(name)
        assert_alone(bus)
        new = seen.new()
        assert new in (events, [*events, ("started", None, child.pid)])
        post_both()
    assert bus.stats().lost == 0
    bus.close()


def claim(deaths, name):
    """An event with `unique` runs once, or was in hand of the one that died."""
    bus = stdevents.Bus(name, size=4096, interval=0, timeout=30)
    seen = Seen(bus)
    seen.new()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)

    def run_here():
        bus.unregister(seen.note)
        bus.register(lambda data, event, source, pid: os.write(writer, b"!"), "test")

    def runs_of_child():
        try:
            return len(os.read(reader, 10))
        except BlockingIOError:
            return 0

    runs = []
    number = bus.post("test", "killed", unique="key 0")
    for _ in deaths.of(bus.poll, before=run_here, quick_stride=2):
        assert_sound(name)
        assert_alone(bus)
        of_child = runs_of_child()
        mine = ("killed", None, os.getpid()) in seen.new()
        runs.append((mine, of_child))
        number = bus.post("test", "killed", unique=f"key {number}")
    os.close(reader)
    os.close(writer)
    # Before C4, after it, and after the handler.
    assert set(runs) == {(True, 0), (False, 0), (False, 1)}
    assert runs[-1] == (False, 1)
    deaths.campaign.count("died in hand", runs.count((False, 0)))
    bus.close()


def become_a_worker(deaths, name):
    """A forked child that dies in its hook leaves neither slot nor lock taken."""
    bus = stdevents.Bus(name, size=4096, interval=0)
    hook = put_off_hook_of_child(bus)

    def work():
        hook()
        bus.poll()

    for _ in deaths.of(work, quick_stride=5):
        assert_sound(name)
        assert_alone(bus)
        bus.poll()
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()


def join_and_leave(deaths, name):
    """Alone on the bus: what is left is replaced by the next one, and removed by it."""

    def work():
        stdevents.Bus(name, size=4096, interval=0).close()

    for _ in deaths.of(work, quick_stride=7):
        bus = stdevents.Bus(name, size=4096, interval=0)
        assert bus.stats().last_id == 1
        assert_sound(name)
        assert_alone(bus)
        bus.close()
        assert_removed(name)


def join_and_leave_among_others(deaths, name):
    """Who is there already is not disturbed."""
    bus = stdevents.Bus(name, size=4096, interval=0)

    def work():
        stdevents.configure(name, interval=0)
        stdevents.close()

    for _ in deaths.of(work, before=bus.close, quick_stride=11):
        assert_sound(name)
        assert_alone(bus)
        last = bus.stats().last_id
        assert bus.post("test", "after") == last + 1
        bus.poll()
    assert bus.stats().lost == bus.stats().handler_errors == 0
    bus.close()


def test_sigkill_at_every_step(campaign, name, fork):
    """G2, G4, G5, G7, G9: what was done is there or is not; lock and slot are free at once."""
    deaths = Deaths(campaign, fork)
    post(deaths, name, SMALL)
    post(deaths, name, WRAPPING)
    post(deaths, name, SMALL, unique="key")
    poll(deaths, name)
    claim(deaths, name)
    become_a_worker(deaths, name)
    join_and_leave(deaths, name)
    join_and_leave_among_others(deaths, name)
    campaign.end(NAME, deaths.cases)
