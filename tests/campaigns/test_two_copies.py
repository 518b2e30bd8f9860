"""Vendored copies under load: three packages in each of three processes, on one bus.

Two copies in one process share nothing but the segment and the files: each has its own fork
hooks, loop and open files, and locks the other out as if it were another process.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from programs import start

import stdevents

PROGRAM = Path(__file__).with_name("two_copies.py")
COPIES = ("app_one/_vendor/stdevents", "app_two/events")
WORKERS = 9


def test_two_copies(campaign, name, tmp_path):
    """G1, G2, G4, G7: one order, nothing lost; what one may run runs once, in any copy."""
    for copy in COPIES:
        shutil.copytree(
            Path(stdevents.__file__).parent,
            tmp_path / copy,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for parent in (tmp_path / copy).relative_to(tmp_path).parents:
            (tmp_path / parent / "__init__.py").touch()
    rounds, runs = campaign.size(200, 2_000), campaign.size(1, 10)
    for run in range(runs):
        process = start(PROGRAM, name, campaign.seed + run, rounds, tmp_path)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        workers = [worker for line in out.splitlines() for worker in json.loads(line)]
        assert len(workers) == WORKERS
        campaign.count("reordered", len({seen for seen, _ in workers}) - 1)
        ran = sorted(count for _, items in workers for *_, count in items)
        campaign.count("duplicated", len(ran) - len(set(ran)))
        campaign.count("lost", len(set(range(0, rounds, 10)) - set(ran)))
        campaign.progress("two copies", (run + 1) * WORKERS * rounds)
    campaign.end("two copies", runs * WORKERS * rounds)
