"""The program of test_clocks.py: three workers, whose CLOCK_REALTIME jumps at each step."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading

from inside import under_lock
from intervene import Intervention

import stdevents

POSTERS = 3
SECONDS = 55
JUMPS = (0, 1, -1, 3600, -3600, 10**9, -(10**9))


def jump():
    clock.set_clock(chance.choice(JUMPS))


def work(number, barrier, pipe):
    """Post and handle; tell what was seen, and what was run."""
    chance.seed(f"{seed} {number}")
    seen, ran, complete = [], [], threading.Event()

    def plain(data, event, source, pid):
        jump()
        seen.append(data)
        if len(seen) == POSTERS * rounds:
            complete.set()

    bus.register(plain, "test", "plain")
    bus.register(lambda data, *_: ran.append(data), "test", "unique")
    bus.configure(interval=0.01)
    os.read(barrier, 1)
    for count in range(rounds):
        jump()
        bus.post("test", "plain", [number, count])
        bus.post("test", "unique", [number, count], unique=f"{number} {count}")
    assert complete.wait(SECONDS), len(seen)
    bus.configure(interval=0)
    bus.poll()
    assert bus.stats().lost == 0
    bus.workers()
    pipe.write(json.dumps([seen, ran]) + "\n")
    pipe.flush()


def work_in_children():
    """Have three of them do it, and print what they tell."""
    barrier, children = os.pipe(), {}
    for number in range(POSTERS):
        told = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            with open(told[1], "w") as pipe:
                work(number, barrier[0], pipe)
            os._exit(0)
        os.close(told[1])
        children[child] = told[0]
    os.write(barrier[1], b"!" * POSTERS)
    for child, pipe in children.items():
        with open(pipe) as file:
            sys.stdout.write(file.read())
        assert os.waitpid(child, 0)[1] == 0


def hold_keys():
    """A key is held as long as it should be, and no longer, whatever the clock says."""
    ran = []
    bus.register(lambda data, *_: ran.append(data), "test", "key")
    for timeout, key, expected in ((1000, "held", [0]), (1e-6, "free", list(range(20)))):
        bus.configure(timeout=timeout)
        for count in range(20):
            jump()
            bus.post("test", "key", count, unique=key)
            bus.poll()
        assert ran == expected, (key, ran)
        ran.clear()


def wait_for_the_lock():
    """So is a wait."""
    bus.configure(wait_max=0.05)
    ready = os.pipe()
    child = os.fork()
    if not child:
        under_lock(bus, lambda: os.write(ready[1], b"!") and signal.pause())
    os.read(ready[0], 1)
    for _ in range(5):
        jump()
        try:
            bus.post("test", "event")
        except stdevents.LockTimeout:
            continue
        raise AssertionError("it is not locked")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


if __name__ == "__main__":
    name, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    clock, chance = Intervention(), random.Random(seed)
    bus = stdevents.Bus(name, size="16m", interval=0, timeout=1000, wait_max=30)
    work_in_children()
    hold_keys()
    wait_for_the_lock()
    bus.close()
