"""gevent: a greenlet that waits for the lock of the bus, or for a poll, lets the others go on."""

from __future__ import annotations

import json

import pytest
from inside import lock_file_of
from programs import run
from servers import PATIENCE

GREENLETS = 5
ROUNDS = 5

# As gunicorn's workers do it, stdevents may be imported before the monkey patching.
IMPORT, PATCH = "import stdevents\n", "from gevent import monkey; monkey.patch_all()\n"
BEGIN = {"imported after": PATCH + IMPORT, "imported before": IMPORT + PATCH}

AND_TICK = """
import gevent, json, sys

ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0)

def let_tick(times):
    until = ticks + times
    while ticks < until:
        gevent.sleep(0)

gevent.spawn(tick)
seen = []
stdevents.register(lambda data, event, source, pid: seen.append(data), "test")
stdevents.configure(sys.argv[1], interval=0.05, wait_max=float(sys.argv[2]))
"""

HOLDER = """
import fcntl, sys

for line in sys.stdin:
    if line.strip() == "take":
        lock = open(sys.argv[1], "r+b")
        fcntl.flock(lock, fcntl.LOCK_EX)
    else:
        lock.close()
    print(line, end="", flush=True)
"""

HELD = """
import subprocess, sys

holder = subprocess.Popen(
    [sys.executable, "-c", *sys.argv[3:5]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1, text=True,
)

def tell_holder(what):
    print(what, file=holder.stdin, flush=True)
    assert holder.stdout.readline().strip() == what
"""

CONTENDED = """
greenlets, rounds = map(int, sys.argv[5:])
done = []
for number in range(rounds):
    tell_holder("take")
    posting = [
        gevent.spawn(lambda data: done.append(stdevents.post("test", "event", data)), [number, one])
        for one in range(greenlets)
    ]
    let_tick(100)
    assert not any(greenlet.ready() for greenlet in posting)
    tell_holder("let go")
    gevent.joinall(posting, raise_error=True)
while len(seen) < greenlets * rounds:
    let_tick(1)
tell_holder("take")  # nobody else has it now
tell_holder("let go")
holder.communicate()
stdevents.close()
print(json.dumps([done, seen]))
"""

POLLS = """
def sleep(data, event, source, pid):
    let_tick(100)
    seen.append("slept")

def poll():
    stdevents.poll()
    seen.append("polled")

stdevents.configure(interval=0)
stdevents.register(sleep, "slow")
stdevents.post("slow", "event")
gevent.joinall([gevent.spawn(poll) for _ in range(3)], raise_error=True)
stdevents.close()
print(json.dumps(seen))
"""

each_order = pytest.mark.parametrize("begin", BEGIN.values(), ids=BEGIN)


@each_order
def test_posts_that_wait_for_the_lock_do_not_hold_up_the_hub(begin, name, told):
    """The lock is let go of when others have ticked a hundred times, and so never if they cannot.

    Each greenlet is a thread of its own to the lock: none is taken for one that interrupts
    another's post, and leaves its event to it.
    """
    # The holder is started before the patching: its pipes are plain ones.
    program = HELD + begin + AND_TICK + CONTENDED
    lock = lock_file_of(name)
    ids, seen = json.loads(run(program, name, PATIENCE, HOLDER, lock, GREENLETS, ROUNDS))
    expected = [[number, one] for number in range(ROUNDS) for one in range(GREENLETS)]
    assert sorted(seen) == expected
    assert len(set(ids)) == len(expected)
    told(f"{ROUNDS} times {GREENLETS} greenlets waited for the lock")


@each_order
def test_a_poll_waits_for_that_of_another_greenlet_and_lets_it_go_on(begin, name):
    seen = json.loads(run(begin + AND_TICK + POLLS, name, PATIENCE))
    assert sorted(seen) == ["polled"] * 3 + ["slept"]
    assert seen[0] == "slept"
