"""The campaigns bite: the package is broken in one place, and the campaign that is named sees it.

Each break is made in a copy, that runs in a /dev/shm and among processes of its own: it may leave
behind anything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from breaks import LONG, QUICK, Break

import stdevents

TESTS = Path(__file__).parent.parent
SECONDS, A_WHILE = 240, 10


def command_of_its_own():
    """What stands before a command that is to have a /dev/shm and processes of its own."""
    unshare = ["unshare", *["--map-root-user"] * (os.geteuid() != 0), "--mount", "--mount-proc"]
    unshare += ["--pid", "--fork", "--kill-child"]
    own = [*unshare, "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && "$@"; exit $?', "sh"]
    there = shutil.which("unshare")
    if not there or subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("a /dev/shm and processes of one's own are not allowed here")
    return own


def break_package(case, folder):
    """A copy of the package with the break in it."""
    package = folder / "stdevents"
    shutil.copytree(
        Path(stdevents.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    for file, old, new in case.replacements:
        text = (package / file).read_text()
        assert text.count(old) == 1, f"{case.what}: not once in {file}: {old!r}"
        (package / file).write_text(text.replace(old, new))


def file_of(name):
    """The tests of that name."""
    (file,) = TESTS.rglob(f"test_{name}.py")
    return file


def run_tests(own, tests, folder, campaign, done):
    """Run them with the package in the folder; what was printed, and the exit status."""
    options = [
        "-q",
        "-x",
        "--tb=short",
        "--every-step",
        "-p",
        "no:cacheprovider",
        "-o",
        f"pythonpath={folder} {TESTS}",
    ]
    process = subprocess.Popen(
        [*own, sys.executable, "-m", "pytest", *options, *tests],
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for _ in range(SECONDS // A_WHILE):
        campaign.progress("the campaigns bite", done)
        try:
            return process.communicate(timeout=A_WHILE)[0], process.returncode
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    return process.communicate()[0], process.returncode


def is_caught(status, out):
    """Did a test fail, by what it found? To hang is not enough, nor to be unable to begin."""
    return (
        status == 1
        and re.search(r"^\d+ failed", out, re.MULTILINE) is not None
        and "the test hangs" not in out
        and "ImportError" not in out
    )


def test_campaigns_bite(campaign, tmp_path):
    """Each break is caught, by the tests that are named; which find nothing where nothing is."""
    own = command_of_its_own()
    cases = campaign.size(QUICK, QUICK + LONG)
    for name in sorted({name for case in cases for name in case.tests.split()}):
        folder = tmp_path / name
        break_package(Break("nothing", name, ()), folder)
        out, status = run_tests(own, [file_of(name)], folder, campaign, 0)
        assert status == 0, f"{name} fails where nothing is broken: {out[-3000:]}"
    for number, case in enumerate(cases):
        folder = tmp_path / str(number)
        break_package(case, folder)
        tests = [file_of(name) for name in case.tests.split()]
        out, status = run_tests(own, tests, folder, campaign, number)
        if not is_caught(status, out):
            campaign.count("unexpected")
            print(f"not caught: {case.what}, by {case.tests}: status {status}\n{out[-3000:]}")
        shutil.rmtree(folder)
    campaign.end("the campaigns bite", len(cases))
