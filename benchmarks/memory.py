"""What a worker costs before its first event: private bytes, and the time of the import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

from common import Figure, main, name

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = {"tiny": 1, "quick": 15, "full": 60}
MODULES = "import multiprocessing.shared_memory, json"

IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[1])
start = time.perf_counter()
{what}
print(time.perf_counter() - start)
"""

PRIVATE = """
import re, sys
sys.path.insert(0, sys.argv[1])
def private():  # of the segment, each byte is there once for all workers
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(kib) for kib in re.findall(r"Anonymous: +(\\d+) kB", file.read()))
import logging, threading, multiprocessing.shared_memory, json
before = private()
import stdevents
stdevents.configure(sys.argv[2])
print(private() - before)
"""


def printed(program, *arguments):
    """What a program of its own prints, as a number."""
    command = [sys.executable, "-c", program, str(ROOT), *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure(size):
    """A figure for each."""
    rounds = range(ROUNDS[size])
    theirs = IMPORT.format(what=MODULES)
    pairs = [(printed(IMPORT.format(what="import stdevents")), printed(theirs)) for _ in rounds]
    ours, modules = zip(*pairs)
    yield Figure(
        "import stdevents", MODULES, min(ours) / min(modules), median(ours) / median(modules), 1.3,
        more=f"{min(ours) * 1e3:.1f} ms",
    )  # fmt: skip
    kib = [printed(PRIVATE, name()) for _ in rounds]
    yield Figure(
        "private KiB that a worker adds, loop and all", "those modules (difference)",
        min(kib), median(kib), 300,
    )  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__)
