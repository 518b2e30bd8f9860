"""What a worker costs before its first event: private bytes, and the time of the import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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
import os, re, sys
sys.path.insert(0, sys.argv[1])
rollup = open("/proc/self/smaps_rollup")
def private():  # of the segment, each byte is there once for all workers
    rollup.seek(0)
    return sum(int(kib) for kib in re.findall(r"Anonymous: +([0-9]+) kB", rollup.read()))
{modules}
before = private()
import stdevents
if not os.geteuid():  # as any user: what root loads in advance, others load when it is needed
    os.seteuid(65534)
stdevents.configure(sys.argv[2])
print(private() - before)
"""


def printed(environment, program, *arguments):
    """What a program of its own prints, as a number."""
    command = [sys.executable, "-c", program, str(ROOT), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def measure(size):
    """A figure for each."""
    with tempfile.TemporaryDirectory() as cache:
        # Compiled once, as whatever is installed is.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        private = PRIVATE.format(modules=MODULES)
        ours, theirs = IMPORT.format(what="import stdevents"), IMPORT.format(what=MODULES)
        for program in (ours, theirs):
            printed(environment, program)
        printed(environment, private, name())
        rounds = range(ROUNDS[size])
        pairs = [(printed(environment, ours), printed(environment, theirs)) for _ in rounds]
        kib = [printed(environment, private, name()) for _ in rounds]
    seconds, modules = zip(*pairs)
    yield Figure(
        "import stdevents", MODULES,
        min(seconds) / min(modules), median(seconds) / median(modules), 1.15,
        ours=f"{min(seconds) * 1e3:.1f} ms", theirs=f"{min(modules) * 1e3:.1f} ms",
    )  # fmt: skip
    yield Figure(
        "private KiB that a worker adds, loop and all", "those modules (difference)",
        min(kib), median(kib), 450, ours=f"{min(kib):.0f} KiB",
    )  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__)
