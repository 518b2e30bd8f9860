"""Each benchmark runs, at a tiny size; what it says is another matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stdevents

ROOT = Path(stdevents.__file__).parent.parent
BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"

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
    [
        ("hot_paths", 6),
        ("scaling", 2),
        ("wake", 2),
        ("idle", 1),
        ("memory", 2),
        ("growth", 10),
        ("threads", 3),
    ],
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
