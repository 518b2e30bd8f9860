"""Each benchmark runs, at a tiny size; what it says is another matter."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stdevents

ROOT = Path(stdevents.__file__).parent.parent
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they read /proc")
needs_benchmarks = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the package alone is here")


def figures_of(*command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_command(name):
    result = figures_of("-m", "stdevents", "bench", "--rounds", 1, "--json")
    assert len(result["figures"]) == 4
    assert all(row["best"] > 0 for row in result["figures"].values())
    assert "bench" in result["command"]


@needs_benchmarks
@pytest.mark.parametrize(
    "program, least",
    [("hot_paths", 6), ("scaling", 2), ("wake", 2), ("idle", 1), ("memory", 2), ("growth", 10)],
)
def test_the_program(program, least):
    figures = figures_of(BENCHMARKS / f"{program}.py", "tiny", "--json")
    assert len(figures) >= least
    for figure in figures:
        assert figure["what"] and figure["against"]
        assert isinstance(figure["best"], float)


@needs_benchmarks
def test_the_transports_that_are_here():
    """Ours, and those of the standard library; the others are left out where they are missing."""
    figures = figures_of(BENCHMARKS / "delivered.py", "tiny", "--json")
    assert len(figures) > 16  # ours two, of two lengths, alone and in batches: CPU and rate
    assert all(figure["best"] > 0 for figure in figures)


# -- what people see of them -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def result():
    return json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pages():
    """The module that writes them."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("pages")
    finally:
        sys.path.remove(str(BENCHMARKS))


AGAIN = "they are not of one run: `tox -e bench -- --pages` writes them again"


@needs_benchmarks
def test_the_table_of_the_readme_is_of_the_results(pages, result):
    text = pages.README.read_text(encoding="utf-8")
    shown = text.split(pages.BEGIN)[1].split(pages.END)[0]
    assert shown == pages.for_readme(result), AGAIN


@needs_benchmarks
def test_the_table_of_the_readme_is_short(pages, result):
    head, line, *rows = pages.for_users(result)
    assert 0 < len(rows) <= 8


@needs_benchmarks
def test_the_page_of_figures_is_of_the_results(pages, result):
    assert pages.PAGE.read_text(encoding="utf-8") == pages.page(result), AGAIN


@needs_benchmarks
def test_the_chart_is_of_the_results(pages, result):
    chart = (BENCHMARKS / "chart.svg").read_text(encoding="utf-8")
    titles, rows, columns = pages.shown(result)
    shown = [*titles, *(row["slow"] for row in rows.values())]
    shown += [label for _, _, labels in columns for label in labels]
    assert [text for text in shown if text not in chart] == [], AGAIN


@needs_benchmarks
def test_each_goal_is_met_or_missed_by_what_was_measured(result):
    """Nobody has to look it up: the page says it."""
    goals = [one for one in result["figures"] if one["goal"] is not None]
    assert len(goals) >= 20
    assert all(one["ours"] for one in goals)
