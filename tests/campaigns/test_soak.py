"""All that a program may do with a bus, over and over: it stays as large as it was.

Descriptors, threads, memory and names are counted, in the program itself and in two forked workers
that live as long as it does; for the first time when all has been done some times.
"""

from __future__ import annotations

import json
import sys

import pytest
from programs import start

NAME = "soak"
SLACK = 4 << 20  # bytes of memory; an allocator is never quite still

PROGRAM = """
import contextlib, gc, itertools, json, logging, os, random, signal, sys, threading, time
import stdevents
from inside import folder_of, memory_file_of

name, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
logging.getLogger("stdevents").addHandler(logging.NullHandler())  # of handlers that fail
chance = random.Random(seed)
WORKERS, WARM_UP, EVERY = 2, 30, 10  # rounds
PATIENCE = 40  # seconds

def measure():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
    }

def names():
    buses = name, name + ".other"
    return sum(os.path.exists(of(bus)) for bus in buses for of in (folder_of, memory_file_of))

def live_as_worker():
    os.close(alive[1])
    bus.register(lambda *_: None, "work")
    @bus.on("soak", "measure")
    def tell(data, event, source, pid):
        bus.post("soak", "measured", measure())
    os.read(alive[0], 1)  # until the parent has died, at the latest
    os._exit(0)

def work_and_die(how):
    bus.post("work", "from child")
    bus.poll()
    if how == "close":
        bus.close()
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)

class Listener:
    def hear(self, data, event, source, pid):
        pass

def fail(data, event, source, pid):
    raise RuntimeError("a handler that fails")

def do_everything(number):
    listener = Listener()
    bus.register_weak(listener.hear, "work", "plain")
    bus.register(fail, "work", "plain")
    for _ in range(chance.randrange(100)):
        bus.post("work", "plain", "x" * chance.randrange(1000))
        bus.post("work", str(chance.random()), chance.random(), str(chance.random()))
    bus.post_local("work", "local", listener)
    bus.poll()
    bus.unregister(fail, "work", "plain")
    del listener
    with contextlib.suppress(stdevents.EncodeError):
        bus.post("work", "refused", {1, 2, 3})
    with contextlib.suppress(stdevents.PayloadTooLarge):
        bus.post("work", "refused", "x" * 2_000_000)
    bus.stats(), bus.workers()
    bus.configure(interval=0)
    with contextlib.closing(stdevents.Bus(name + ".other", size="16k", interval=0)) as other:
        other.fileno()
        for _ in range(100):
            other.post("work", "plain", number)
        other.poll()
    child = os.fork()
    if not child:
        work_and_die(("close", "kill", "exit")[number % 3])
    os.waitpid(child, 0)
    bus.configure(interval=0.05)

def measure_all():
    measured.clear()
    bus.post("soak", "measure")
    assert everybody_has.acquire(timeout=PATIENCE), (bus.workers(), measured)
    processes = [measure(), *measured]
    print(json.dumps({"round": number, "names": names(), "processes": processes}), flush=True)

measured, everybody_has, alive = [], threading.Semaphore(0), os.pipe()
bus = stdevents.Bus(name, size="1m", interval=0.05, wait_max=20)
@bus.on("soak", "measured")
def note(data, event, source, pid):
    measured.append(data)
    if len(measured) == WORKERS:
        everybody_has.release()
workers = []
for _ in range(WORKERS):
    child = os.fork()
    if not child:
        bus.unregister(note, "soak", "measured")
        live_as_worker()
    workers.append(child)
end = None
try:
    for number in itertools.count():
        do_everything(number)
        if number >= WARM_UP and number % EVERY == 0:
            measure_all()
            end = end or time.monotonic() + seconds
            if time.monotonic() > end:
                break
finally:
    for child in workers:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
bus.close()
assert names() == 0
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc and /dev/shm")
def test_soak(campaign, name):
    """G9: nothing is left open, running, allocated or lying about."""
    process = start(PROGRAM, name, campaign.seed, campaign.size(3, 30 * 60))
    try:
        figures = []
        for line in process.stdout:
            figures.append(json.loads(line))
            campaign.progress(NAME, figures[-1]["round"])
        assert (process.wait(), process.stderr.read()) == (0, "")
    finally:
        process.kill()
        process.communicate()
    first, last = figures[0], figures[-1]
    assert last["round"] > first["round"]
    campaign.count("unexpected", last["names"] != first["names"])
    for before, after in zip(first["processes"], last["processes"]):
        grown = after["memory"] - before["memory"]
        campaign.count("unexpected", after["descriptors"] != before["descriptors"])
        campaign.count("unexpected", after["threads"] != before["threads"])
        # In seconds an allocator's noise is all that there is to see of memory.
        campaign.count("unexpected", campaign.long and grown > SLACK)
        campaign.count("descriptors", after["descriptors"])
        campaign.count("threads", after["threads"])
        campaign.count("KiB grown", grown // 1024)
    campaign.end(NAME, last["round"])
