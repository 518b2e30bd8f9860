"""Clock jumps. What can jump is CLOCK_REALTIME, that anybody may set; and it must not matter.

CLOCK_MONOTONIC, by which a key is held and each wait is measured, never jumps. But it may differ
by any amount between workers: between containers, say, that have time namespaces of their own
and share /dev/shm. Then how long a key is held is not known, and everything else has to hold.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import intervene
import pytest
from programs import start

HERE = Path(__file__).parent


def count_differences(campaign, lists, ran, posted):
    """All lists have to be one and the same, and what ran is to have run once."""
    campaign.count("reordered", sum(seen != lists[0] for seen in lists[1:]))
    for seen in lists:
        campaign.count("lost", len(posted - {tuple(item) for item in seen}))
        campaign.count("duplicated", len(seen) - len({tuple(item) for item in seen}))
    campaign.count("duplicated", len(ran) - len({tuple(item) for item in ran}))
    campaign.count("lost", len(posted - {tuple(item) for item in ran}))


@pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="PyPy's threads wait for each other by the clock that jumps, not by the kernel's",
)
def test_clock_jumps(campaign, name, tmp_path, monkeypatch):
    """G1, G4, G5: by an hour, or by 30 years, at any instant, in any worker."""
    library = intervene.build(tmp_path)
    rounds, runs = campaign.size(200, 4_000), campaign.size(1, 20)
    for run in range(runs):
        monkeypatch.setenv("LD_PRELOAD", str(library))
        process = start(HERE / "clock_jumps.py", name, campaign.seed + run, rounds)
        monkeypatch.delenv("LD_PRELOAD")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        told = [json.loads(line) for line in out.splitlines() if line]
        assert len(told) == 3
        posted = {(number, count) for number in range(3) for count in range(rounds)}
        ran = [item for _, ran in told for item in ran]
        count_differences(campaign, [seen for seen, _ in told], ran, posted)
        campaign.progress("clock jumps", (run + 1) * 6 * rounds)
    campaign.end("clock jumps", runs * 6 * rounds)


WORKER = """
import json, sys, time
import stdevents

bus = stdevents.Bus(sys.argv[1], size="16k", interval=0, timeout=float(sys.argv[2]))
seen, ran = [], []
bus.register(lambda data, *_: seen.append(data), "test", "plain")
bus.register(lambda data, *_: ran.append(data), "test", "unique")
print(json.dumps(time.monotonic()), flush=True)
for line in sys.stdin:
    number, count = json.loads(line)
    if count >= 0:
        bus.post("test", "plain", [number, count])
        bus.post("test", "unique", [number, count], unique=f"{number} {count}")
    bus.poll()
    print(flush=True)
print(json.dumps([seen, ran]), flush=True)
bus.close()
"""

OFFSETS = (0, 1_000_000, 1_000_000_000)


def start_elsewhen(offset, name, timeout):
    """A worker whose CLOCK_MONOTONIC is ahead by so many seconds."""
    before = []
    if offset:
        before = ["unshare", *["--map-root-user"] * (os.geteuid() != 0), "--time", "--fork"]
        before += ["--monotonic", str(offset)]
    return start(WORKER, name, timeout, before=before)


def test_time_namespaces(campaign, name):
    """G1, G3, G4: each unique event runs once, though its key seems held for years, or never."""
    probe = ["unshare", *["--map-root-user"] * (os.geteuid() != 0), "--time", "true"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("time namespaces are not allowed here")
    workers = [start_elsewhen(offset, name, 0.001) for offset in OFFSETS]
    clocks = [json.loads(worker.stdout.readline()) for worker in workers]
    for clock, earlier, offset in zip(clocks[1:], clocks, OFFSETS[1:]):
        assert clock - earlier > offset / 2

    def have(worker, number, count):
        worker.stdin.write(json.dumps([number, count]) + "\n")
        worker.stdin.flush()
        worker.stdout.readline()

    rounds = campaign.size(100, 10_000)
    posted = set()
    for count in range(rounds):
        number = campaign.random.randrange(len(workers))
        posted.add((number, count))
        have(workers[number], number, count)
        if count % 10 == 0:
            for worker in workers:
                have(worker, 0, -1)  # so that none is overtaken
            campaign.progress("time namespaces", 2 * count)
    for worker in workers:
        have(worker, 0, -1)
    told = []
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert (worker.returncode, err) == (0, "")
        told.append(json.loads(out))
    count_differences(
        campaign, [seen for seen, _ in told], [item for _, ran in told for item in ran], posted
    )
    campaign.end("time namespaces", 2 * rounds)
