"""The example of two hosts, as its docstring says it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from children import SECONDS
from programs import PACKAGE_PARENT

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "two_hosts.py"


def begin(server, bus, *change):
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "BUS": bus}
    return subprocess.Popen(
        [sys.executable, EXAMPLE, f"unix://{server.path}?socket_timeout={SECONDS}", *change],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(not EXAMPLE.exists(), reason="there are no examples beside the tests")
def test_one_host_hears_what_another_one_changed(server, name, interruptible):
    hears = begin(server, f"{name}-hears")
    assert "this process reads" in hears.stderr.readline()
    changes = begin(server, f"{name}-changes", "set", "price", "1")
    _, said = changes.communicate(timeout=SECONDS)
    assert changes.returncode == 0, said
    host = os.uname().nodename
    assert hears.stdout.readline() == f"dropped price, says process {changes.pid} of {host}\n"
    hears.send_signal(signal.SIGINT)
    hears.communicate(timeout=SECONDS)
    assert hears.returncode == 0
