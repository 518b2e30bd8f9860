"""All benchmarks: prints their table, and writes results.json and what people see of it.

tox -e bench               quick, some minutes: README's table, docs/figures.md and chart.svg anew
tox -e bench -- full       the same of many rounds, for figures to be shown
tox -e bench -- --pages    from results.json, without measuring
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import delivered
import growth
import hot_paths
import idle
import memory
import pages
import scaling
import wake
from common import SIZES, table

HERE = Path(__file__).resolve().parent
RESULTS, CHART = HERE / "results.json", HERE / "chart.svg"


def machine(size):
    """On what, and by which command."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "command": f"tox -e bench -- {size}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "system": platform.system(),
        "load": f"{os.getloadavg()[0]:.1f} before it began",
    }


def measured(size):
    """All figures, and what they were taken on."""
    about, figures = machine(size), []
    for program in (hot_paths, scaling, wake, idle, memory, growth):
        print(f"{program.__name__} ...", file=sys.stderr)
        figures += program.measure(size)
    print("delivered ...", file=sys.stderr)
    compared = delivered.compare(size)
    figures += [*delivered.figures(compared), *delivered.against_json(compared)]
    print("\n".join(table(figures)))
    return {
        **about,
        "figures": [one._asdict() for one in figures],
        "delivered": compared,
        "threads": list(threads_of_each(size)),
    }


def threads_of_each(size):
    """What threads make of it, on this Python, and on one without the GIL where there is one."""
    for python in (sys.executable, shutil.which("python3.13t")):
        if python is not None:
            command = [python, str(HERE / "threads.py"), size, "--json"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            gil = "without" if python.endswith("t") else "with"
            yield {"how": f"{gil} the GIL", "figures": json.loads(done.stdout)}


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", choices=SIZES, nargs="?", default="quick")
    parser.add_argument("--pages", action="store_true", help="from results.json; measure nothing")
    options = parser.parse_args()
    if options.pages:
        result = json.loads(RESULTS.read_text(encoding="utf-8"))
    else:
        result = measured(options.size)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    pages.write(result)
    try:
        pages.draw(result, CHART)
    except ImportError as error:
        print(f"no chart: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
