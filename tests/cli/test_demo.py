"""The demo: that it runs, and that its verdict follows from what the workers report."""

from __future__ import annotations

import copy
import html
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from inside import Evidence, Posted, judge, remains_of
from programs import PACKAGE_PARENT, PYTHON

pytestmark = pytest.mark.usefixtures("interruptible")

PICTURE = Path(__file__).parent.parent.parent / "docs" / "demo.svg"
FINDINGS = [
    "events",
    "same order",
    "stale after the event",
    "ran once",
    "local event",
    "forked child is a worker",
    "lost and told",
    "nothing left behind",
]


@pytest.fixture
def demo(tmp_path):
    """A running demo, which makes its database under `tmp_path`; and what it left there."""
    process = subprocess.Popen(
        [*PYTHON, "-m", "stdevents", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TMPDIR": str(tmp_path)},
        cwd=tempfile.gettempdir(),
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()
    bus = f"stdevents-demo-{process.pid}"
    assert remains_of(bus) == remains_of(f"{bus}-tiny") == []
    assert list(tmp_path.iterdir()) == []


def test_the_demo_holds_all_that_is_promised(demo):
    """G1, G3, G4, G7, G9."""
    out, err = demo.communicate(timeout=60)

    assert (demo.returncode, err) == (0, ""), out
    table = out.splitlines()[-len(FINDINGS) - 2 : -2]
    assert [line[:32].rstrip() for line in table] == [f"ok     {what}" for what in FINDINGS]
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    if PICTURE.exists():
        acts = re.findall(r"^\d  (.+)$", out, re.MULTILINE)
        drawn = html.unescape(PICTURE.read_text(encoding="utf-8"))
        assert [act for act in acts if f">{act}<" not in drawn] == [], "docs/record.py draws it"
        assert len(acts) == 7


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
@pytest.mark.parametrize("act", ["1  ", "2  ", "6  "])
def test_an_interrupted_demo_leaves_nothing(demo, number, status, act):
    """G9; from a terminal, Ctrl-C goes to all of its processes."""
    while not demo.stdout.readline().startswith(act):
        assert demo.poll() is None
    os.killpg(demo.pid, number) if number == signal.SIGINT else demo.send_signal(number)
    _, err = demo.communicate(timeout=60)

    assert (demo.returncode, err) == (status, "")


# -- the verdict -----------------------------------------------------------------------------------


def good():
    """What is reported when all holds: four workers, and a fifth that is forked after event 4."""
    evidence = Evidence(
        posted={
            1: Posted("a", unique=False),
            2: Posted("b", unique=True),
            3: Posted("c", unique=True),
            4: Posted("d", unique=False),
            5: Posted("e", unique=False),
            6: Posted("f", unique=False),
        },
        seen={worker: ["a", "d", "e", "f"] for worker in (1, 2, 3, 4)},
        since={1: 1, 2: 1, 3: 1, 4: 1, 5: 5},
        counts={
            worker: {"reads": 10, "stale": 0, "lost": 0, "handler_errors": 0, "ignored": 2}
            for worker in (1, 2, 3, 4, 5)
        },
        local_of=2,
        local=[(2, True)],
        child=5,
        tiny_posted=[3, 4, 5, 6],
        tiny_seen=[["lost", {"first": 3, "last": 5, "count": 3}], ["tick", 3]],
        tiny_lost=3,
    )
    evidence.seen[5] = ["e", "f"]
    evidence.seen[1].insert(1, "b")
    evidence.counts[1]["ignored"] = 1
    evidence.counts[5]["ignored"] = 0
    return evidence


def failed(evidence):
    return {finding.what for finding in judge(evidence) if not finding.held}


def test_good_reports_are_judged_good():
    assert [finding.what for finding in judge(good())] == FINDINGS
    assert failed(good()) == set()


def test_no_reports_at_all_are_judged_bad():
    assert failed(Evidence()) == set(FINDINGS) - {"nothing left behind"}


def missed(evidence):
    evidence.seen[3].remove("d")


def missed_by_the_child(evidence):
    evidence.seen[5].remove("f")


def handled_twice(evidence):
    evidence.seen[3].insert(1, "a")


def swapped(evidence):
    evidence.seen[4][1:3] = evidence.seen[4][2:0:-1]


def never_posted(evidence):
    evidence.seen[4].append("z")


def lost_on_the_way(evidence):
    evidence.counts[2]["lost"] = 1


def handler_failed(evidence):
    evidence.counts[2]["handler_errors"] = 1


def read_stale(evidence):
    evidence.counts[4]["stale"] = 1


def read_nothing(evidence):
    for counts in evidence.counts.values():
        counts["reads"] = 0


def ran_nowhere(evidence):
    evidence.seen[1].remove("b")


def ran_in_two_workers(evidence):
    evidence.seen[2].insert(1, "b")


def ran_twice_in_one(evidence):
    evidence.seen[1].insert(2, "c")


def ignored_by_too_few(evidence):
    evidence.counts[3]["ignored"] = 1


def local_elsewhere(evidence):
    evidence.local.append((3, True))


def local_as_a_copy(evidence):
    evidence.local = [(2, False)]


def child_saw_nothing(evidence):
    del evidence.seen[5]


def lost_untold(evidence):
    del evidence.tiny_seen[0]


def lost_one_too_few(evidence):
    evidence.tiny_seen[0][1].update(last=4, count=2)


def lost_told_late(evidence):
    evidence.tiny_seen.reverse()


def lost_counted_wrong(evidence):
    evidence.tiny_lost = 4


def nothing_lost(evidence):
    evidence.tiny_seen, evidence.tiny_lost = [["tick", index] for index in range(4)], 0


def left_something(evidence):
    evidence.left = ["/dev/shm/x"]


def ended_badly(evidence):
    evidence.failed = ["worker 1 ended with -9"]


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (missed, {"events"}),
        (missed_by_the_child, {"events", "forked child is a worker"}),
        (handled_twice, {"same order"}),
        (swapped, {"same order"}),
        (never_posted, {"same order"}),
        (lost_on_the_way, {"events"}),
        (handler_failed, {"events"}),
        (read_stale, {"stale after the event"}),
        (read_nothing, {"stale after the event"}),
        (ran_nowhere, {"ran once"}),
        (ran_in_two_workers, {"ran once"}),
        (ran_twice_in_one, {"ran once"}),
        (ignored_by_too_few, {"ran once"}),
        (local_elsewhere, {"local event"}),
        (local_as_a_copy, {"local event"}),
        (child_saw_nothing, {"events", "same order", "forked child is a worker"}),
        (lost_untold, {"lost and told"}),
        (lost_one_too_few, {"lost and told"}),
        (lost_told_late, {"lost and told"}),
        (lost_counted_wrong, {"lost and told"}),
        (nothing_lost, {"lost and told"}),
        (left_something, {"nothing left behind"}),
        (ended_badly, {"nothing left behind"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_reports_are_judged_bad(spoil, found):
    evidence = copy.deepcopy(good())
    spoil(evidence)

    assert failed(evidence) == found
