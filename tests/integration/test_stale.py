"""benchmarks/stale.py, for a moment: what `wait` and `poll` promise holds under wrk."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from servers import BIN, EXAMPLES, environment


@pytest.mark.skipif(shutil.which("wrk") is None, reason="there is no wrk here")
def test_no_answer_is_stale_after_a_change_that_was_answered(told):
    program = EXAMPLES.parent / "benchmarks" / "stale.py"
    command = [str(BIN / "python"), str(program), "1"]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    rows = re.findall(
        r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", done.stdout, re.MULTILINE
    )
    assert len(rows) == 6
    for what, requests, changes, stale, failed in rows:
        assert int(requests) > int(changes) > 0
        assert failed == "0"
        if what.endswith((": wait", "before each request")):
            assert stale == "0", done.stdout
            told(f"{what}: {requests} requests, none stale")
