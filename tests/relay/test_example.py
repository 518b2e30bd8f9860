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


needs_example = pytest.mark.skipif(
    not EXAMPLE.exists(), reason="there are no examples beside the tests"
)


def begin(bus, *arguments):
    return subprocess.Popen(
        [sys.executable, EXAMPLE, *arguments],
        env={**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "BUS": bus},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_example
def test_one_host_hears_what_another_one_changed(server, name, interruptible):
    url = f"unix://{server.path}?socket_timeout={SECONDS}"
    hears = begin(f"{name}-hears", url)
    assert "this process is the reader" in hears.stderr.readline()
    changes = begin(f"{name}-changes", url, "price")
    _, said = changes.communicate(timeout=SECONDS)
    assert changes.returncode == 0, said
    host = os.uname().nodename
    assert hears.stdout.readline() == f"dropped price, says process {changes.pid} of {host}\n"
    hears.send_signal(signal.SIGINT)
    hears.communicate(timeout=SECONDS)
    assert hears.returncode == 0


@needs_example
@pytest.mark.parametrize(
    "arguments, what",
    [
        ([], "the following arguments are required: redis://HOST"),
        (["10.0.0.1"], "argument redis://HOST: invalid connect value: '10.0.0.1'"),
        (["redis://10.0.0.1", "price", "1"], "unrecognized arguments: 1"),
    ],
    ids=["no host", "no URL", "one too many"],
)
def test_a_wrong_command_line_is_told_with_the_right_one(arguments, what, name):
    """Before a bus is opened, or Redis asked."""
    wrong = begin(name, *arguments)
    said = wrong.communicate(timeout=SECONDS)
    assert said == (
        "",
        f"usage: two_hosts.py [-h] redis://HOST [key]\ntwo_hosts.py: error: {what}\n",
    )
    assert wrong.returncode == 2
