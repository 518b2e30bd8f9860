"""Programs of a test: whole new Pythons, strict, that import the package that is tested."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from children import SECONDS

import stdevents

PACKAGE_PARENT = Path(stdevents.__file__).parent.parent
#: where a program finds the package, and `inside`
PYTHONPATH = os.pathsep.join(map(str, (PACKAGE_PARENT, Path(__file__).parent)))
#: a new interpreter, with all warnings shown as errors, and as strict as this one
PYTHON = [sys.executable, *(["-X", "dev"] if sys.flags.dev_mode else []), "-W", "error"]


def redirected(words):
    """What runs a program with its standard streams redirected, or closed, as a shell has it."""
    return ("sh", "-c", f'exec "$@" {words}', "sh")


WITHOUT_STDERR = redirected("2>&-")


def start(program, *arguments, before=(), stdout=subprocess.PIPE, **options):
    """Start a program of its own, with all warnings shown as errors: a text, or the Path of one.

    `before` stands before the interpreter, as a command that runs it.
    """
    program = [str(program)] if isinstance(program, Path) else ["-c", program]
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    return subprocess.Popen(
        [*before, *PYTHON, *program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tempfile.gettempdir(),
        **options,
    )


def run(program, *arguments, timeout=SECONDS - 5, **options):
    """Run a program to its end and return what it printed; it must succeed without a warning."""
    process = start(program, *arguments, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"the program hangs; it printed {out!r} and {err!r}")
    assert process.returncode == 0, err
    assert err == "", err
    return out


def run_file(folder, program, *arguments):
    """Run a program that its own children can import; returns what it said, as JSON."""
    file = folder / "program.py"
    file.write_text(program)
    return json.loads(run(file, *arguments))


def run_on_small_memory(options, program, *arguments):
    """Run a program that has a /dev/shm of its own, mounted with these options."""
    unshare = ["unshare", "--mount"] + ["--map-root-user"] * (os.geteuid() != 0)
    mount = f'mount -t tmpfs -o {options} tmpfs /dev/shm && echo mounted && exec "$@"'
    python = [*PYTHON, "-c", program]
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare command to make a mount namespace with")
    done = subprocess.run(
        [*unshare, "sh", "-c", mount, "sh", *python, *arguments],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if not done.stdout.startswith("mounted\n"):
        pytest.skip(f"a /dev/shm of one's own is not allowed here: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()[1:]


# A worker that takes what the ring still holds, and prints a line for each event.
LATE_WORKER = """
import contextlib, logging, sys
import stdevents

logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(message)s")
logging.getLogger("stdevents").setLevel(logging.DEBUG if "log" in sys.argv else logging.WARNING)
bus = stdevents.Bus()
bus.register(lambda data, event, source, pid: print(source, event, data))
bus.configure(sys.argv[1], start=sys.argv[2], interval=0)
with contextlib.closing(bus):
    if "unique" in sys.argv:
        bus.post("backend", "down", unique="key")
    bus.poll()
"""
