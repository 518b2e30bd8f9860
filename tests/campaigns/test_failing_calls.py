"""The n-th system call fails: of open, flock, mmap, ftruncate, fallocate, write, epoll and more.

They fail where the interpreter calls the C library, by a library that is preloaded: so the whole
of Python is in between, with all that it does of its own (what is repeated after EINTR), and calls
of the standard library fail as well as ours. A tracer that has the kernel refuse them would need a
permission that containers lack, and a process for each case. What such a library cannot see is what
the C library calls by itself; `shm_open` is such a case, and so one call here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import intervene
import pytest
from programs import start

PROGRAM = Path(__file__).with_name("failing_calls.py")
SCENARIOS = (
    "create", "join", "post", "poll", "wait_for_news", "look_at_workers", "leave",
    "leave_as_last", "loop", "fork",
)  # fmt: skip
CALLS = "open flock mmap ftruncate posix_fallocate write epoll_create1 epoll_ctl epoll_wait"


@pytest.fixture
def library(tmp_path):
    return intervene.build(tmp_path)


def run(name, scenario, size, library, monkeypatch):
    """The cases of a scenario: what failed, and what was wrong then."""
    monkeypatch.setenv("LD_PRELOAD", str(library))
    process = start(PROGRAM, name, scenario, size)
    monkeypatch.delenv("LD_PRELOAD")
    out, err = process.communicate(timeout=50)
    cases = [json.loads(line) for line in out.splitlines()]
    return cases, process.returncode, err


@pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="PyPy's own memory comes by the calls that fail"
)
def test_failing_calls(campaign, name, library, monkeypatch):
    """An error of ours, or none; nothing left open or locked; then it can be done."""
    cases = []
    size = campaign.size("quick", "long")
    for scenario in SCENARIOS:
        found, status, err = run(name, scenario, size, library, monkeypatch)
        cases += found
        for case in found:
            campaign.count("unexpected", bool(case["wrong"]))
            if case["wrong"]:
                print(case)
        assert status == 0 or cases[-1]["wrong"], err
        assert err == "" and found
        campaign.progress("failing calls", len(cases))
    missing = set(CALLS.split()) - {case["call"].replace("64", "") for case in cases}
    assert not missing, f"were never made to fail: {missing}"
    campaign.end("failing calls", len(cases))
