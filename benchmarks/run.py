"""All benchmarks: prints their table, and writes results.json, and chart.svg for the README.

tox -e bench               quick: some minutes
tox -e bench -- full
tox -e bench -- quick --readme      puts the table into the README, too
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from pathlib import Path

import delivered
import growth
import hot_paths
import idle
import memory
import scaling
import wake
from common import SIZES, table, table_for_users

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


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


def draw(rates, path):
    """A bar for each transport: events a CPU second."""
    import matplotlib

    matplotlib.use("svg")
    # The same file for the same figures, and text that stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "stdevents", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, sides = pyplot.subplots(1, len(rates), figsize=(10, 3.4), squeeze=False)
    for side, (length, of_kinds) in zip(sides[0], rates.items()):
        ordered = sorted(of_kinds.items(), key=lambda item: item[1][0])
        titles, values = [title for title, _ in ordered], [cpu for _, (cpu, _) in ordered]
        colours = ["#2a6fb0" if title.startswith("stdevents") else "#b8bec6" for title in titles]
        bars = side.barh(titles, values, color=colours)
        side.bar_label(bars, [f" {value:,.0f}" for value in values], fontsize=8)
        side.set_title(f"events to 4 workers a CPU second, {length} bytes each", fontsize=9)
        side.tick_params(labelsize=8)
        side.set_xlim(0, 1.2 * max(values))
        side.xaxis.set_visible(False)
        for spine in ("top", "right", "bottom"):
            side.spines[spine].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("size", choices=SIZES, nargs="?", default="quick")
    parser.add_argument("--readme", action="store_true", help="put the table into the README")
    parser.add_argument("--into", type=Path, default=HERE, help="where to write (%(default)s)")
    options = parser.parse_args()
    about, rates, figures = machine(options.size), {}, []
    for program in (hot_paths, scaling, wake, idle, memory, growth, delivered):
        print(f"{program.__name__} ...", file=sys.stderr)
        more = {"rates": rates} if program is delivered else {}
        figures += program.measure(options.size, **more)
    text = [", ".join(f"{word} {value}" for word, value in about.items()), "", *table(figures), ""]
    print("\n".join(text))
    result = {**about, "figures": [one._asdict() for one in figures], "rates": rates}
    (options.into / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    try:
        draw(rates, options.into / "chart.svg")
    except ImportError as error:
        print(f"no chart: {error}", file=sys.stderr)
    if options.readme:
        before, rest = README.read_text().split(BEGIN)
        text[2:] = [*table_for_users(figures), ""]
        README.write_text(before + BEGIN + "\n".join(text) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
