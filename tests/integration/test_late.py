"""examples/late.py: who starts late knows what was set before; during changes, and after a loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import closing

import pytest
from servers import BIN, PATIENCE, environment, wait_until

import stdevents

LATE = 6

# A worker: it starts, learns, works until a line comes, and says what it has then. It does so some
# times over, as often as it is told to.
WORKER = f"""
import json, sys, threading
import late, stdevents

stdevents.configure(sys.argv[1], size=sys.argv[2])
for _ in range(int(sys.argv[3])):
    with late.changing:
        late.knows.clear()
        late.flags.clear()
    late.learn()
print("begun", flush=True)
sys.stdin.readline()
assert stdevents.wait(stdevents.post("test", "over"), timeout={PATIENCE})
late.knows.wait()
print(json.dumps([late.flags, late.losses]), flush=True)
sys.stdin.readline()
"""

# A worker that sets one flag after the other, each two times, until a line comes.
SETTER = f"""
import sys, threading
import late, stdevents

stdevents.configure(sys.argv[1], size=sys.argv[2])
late.learn()
over, begun = threading.Event(), threading.Event()

def change():
    flag = 0
    while not over.is_set():
        flag += 1
        for value in ("old", "new"):
            last = stdevents.post("flags", "set", {{str(flag): value}})
            assert stdevents.wait(last, timeout={PATIENCE})
        begun.set()

thread = threading.Thread(target=change)
thread.start()
begun.wait()
print("begun", flush=True)
sys.stdin.readline()
over.set()
thread.join()
print("set", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def begin(examples, name):
    """`begin(program, size)` starts a worker, and returns it once it has learned."""
    workers = []

    def begin(program, size="1m", times=1):
        workers.append(
            subprocess.Popen(
                [str(BIN / "python"), "-c", program, name, size, str(times)],
                cwd=examples,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert workers[-1].stdout.readline() == "begun\n"
        return workers[-1]

    yield begin
    for worker in workers:  # where the test has failed it may be stopped, or waiting
        worker.send_signal(signal.SIGCONT)
        try:
            worker.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.communicate()


def next_line(worker):
    """Have it go on, and what it says then."""
    worker.stdin.write("\n")
    worker.stdin.flush()
    return worker.stdout.readline()


def test_who_starts_during_changes_has_what_all_others_have(begin, told):
    setter = begin(SETTER)
    workers = [begin(WORKER, times=30) for _ in range(LATE)]
    assert next_line(setter) == "set\n"
    first, *others = [json.loads(next_line(worker)) for worker in workers]
    flags, losses = first
    assert losses == 0
    assert {value for flag, value in flags.items() if flag not in ("theme", "sale")} == {"new"}
    assert all(other == first for other in others)
    told(f"{LATE} workers that came later agree, on {len(flags)} flags")


def test_who_has_lost_changes_asks_again(begin, name, told):
    knowing, losing = (begin(WORKER, "64k") for _ in range(2))

    def knowing_has_handled(event):
        return any(
            worker.pid == knowing.pid and worker.position >= event for worker in bus.workers()
        )

    with closing(stdevents.Bus(name, role="poster")) as bus:
        os.kill(losing.pid, signal.SIGSTOP)
        for count in range(600):  # more than a ring of that size holds
            last = bus.post("flags", "set", {f"flag {count % 20}": count})
            if count % 50 == 0:
                wait_until(lambda: knowing_has_handled(last), "it to keep up")  # noqa: B023
        os.kill(losing.pid, signal.SIGCONT)
        assert bus.wait(last, timeout=PATIENCE)
    (known, none_lost), (learned, losses) = (
        json.loads(next_line(worker)) for worker in (knowing, losing)
    )
    assert (none_lost, losses) == (0, 1)
    assert learned == known
    assert known["flag 19"] == 599
    told("one of two was stopped, lost some of 600 changes, and has them all")
