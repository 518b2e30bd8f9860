"""The command line itself: its help, its errors, its exit status."""

from __future__ import annotations

import errno
import json
import re
import shutil
import sys

import pytest
from commands import Program
from inside import (
    ROOT,
)
from programs import PACKAGE_PARENT, WITHOUT_STDERR, redirected, run, run_on_small_memory, start

import stdevents

WORKER = """
import sys, stdevents
with stdevents.Bus(sys.argv[1], interval=0):
    print("open", flush=True)
    sys.stdin.read()
"""
COMMAND = "import runpy; runpy.run_module('stdevents', run_name='__main__')"
pytestmark = pytest.mark.usefixtures("interruptible")


def commands_in(text):
    """What its help lists: a command, and what that does."""
    return re.findall(r"^    (\w+) +(.+)$", text, re.MULTILINE)


def test_alone_it_prints_its_help(called):
    status, out, err = called(COLUMNS="80")

    assert (status, err) == (0, "")
    assert out.startswith("usage: python -m stdevents ")
    assert max(map(len, out.splitlines())) <= 80
    commands = dict(commands_in(called(COLUMNS="200")[1]))
    assert commands.keys() >= {"demo", "status", "tail", "post", "ask", "check", "clean"}
    for name, words in commands.items():
        assert words[0].islower() and words[-1] != ".", f"HELP of {name} is a phrase, no sentence"


def test_each_command_has_a_help_with_an_example(called):
    for name, _ in commands_in(called(COLUMNS="200")[1]):
        status, out, err = called(name, "--help", COLUMNS="80")

        assert (status, err) == (0, "")
        assert re.search(rf"^example:\n  python -m stdevents {name}\b", out, re.MULTILINE), name
        assert max(map(len, out.splitlines())) <= 80


def test_the_version(command):
    assert command("--version").end() == (0, f"stdevents {stdevents.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    ["bogus", "--bogus", "tail", "post bus source", "demo 5", "clean --all"],
)
def test_a_wrong_command_line_is_told_in_one_line_that_says_where_to_look(called, arguments):
    status, out, err = called(*arguments.split())

    assert (status, out) == (2, "")
    assert err.startswith("stdevents: ")
    its = "" if "bogus" in arguments else f" {arguments.split()[0]}"
    assert err.endswith(f"; see python -m stdevents{its} --help\n")
    assert err.count("\n") == 1


def test_an_error_never_goes_to_standard_output(name):
    """Where standard error is closed: what is printed there is JSON, or an id, for others."""
    process = start(COMMAND, "post", name, "source", "event", before=WITHOUT_STDERR)
    assert (process.communicate()[0], process.returncode) == ("", 2)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_standard_stream_may_be_closed(name, worker, closed):
    """As by what starts it in the background."""
    worker()
    process = start(COMMAND, "status", name, before=redirected(closed))
    out, err = process.communicate()
    assert (err, process.returncode) == ("", 0)
    assert f"bus {name}" in out or ">&-" in closed.split()


@pytest.mark.parametrize(
    "arguments", [["check"], ["bench", "--rounds", "1"]], ids=lambda one: one[0]
)
def test_what_an_encoding_cannot_show_ends_no_command(tmp_path, programs, command, name, arguments):
    """A program with a name that is not ASCII, a unit, where standard output takes only that."""
    program = tmp_path / "wörker.py"
    program.write_text(WORKER)
    worker = Program(start(program, name))
    programs.append(worker)
    assert worker.line() == "open"

    names = [name] if arguments == ["check"] else []
    status, out, err = command(*arguments, *names, PYTHONIOENCODING="ascii").end()
    assert (status, err) == (0, "")
    assert "\\x" in out or not sys.platform.startswith("linux")  # it tells a program's name
    worker.end()


@pytest.mark.parametrize("rounds", ["0", "-1"])
def test_a_bench_of_no_rounds_is_refused(called, rounds):
    status, out, err = called("bench", "--rounds", rounds)
    assert (status, out) == (2, "")
    assert err == f"stdevents: --rounds: {rounds} is too small; give 1 or more\n"


# As pip writes it for the entry point of setup.cfg.
SCRIPT = """
import sys
from stdevents.__main__ import main
sys.exit(main())
"""


def test_the_installed_command_calls_itself_by_its_own_name(tmp_path):
    script = tmp_path / "stdevents"
    script.write_text(SCRIPT)

    out = run(script)
    assert out.startswith("usage: stdevents ")
    assert "\n  stdevents demo\n" in out
    assert "python -m" not in out
    assert json.loads(run(script, "bench", "--rounds", "1", "--json"))["command"].startswith(
        "stdevents bench"
    )


def test_it_runs_where_it_is_vendored_and_calls_itself_so(command, tmp_path, name, worker):
    vendored = tmp_path / "app" / "_vendor"
    shutil.copytree(PACKAGE_PARENT / "stdevents", vendored / "stdevents")
    for package in (vendored, vendored.parent):
        (package / "__init__.py").touch()
    worker()
    there = {"module": "app._vendor.stdevents", "path": tmp_path}

    assert command("status", name, "--json", **there).end()[0] == 0
    bench = json.loads(command("bench", "--rounds", "1", "--json", **there).end()[1])
    assert bench["command"] == "python -m app._vendor.stdevents bench --rounds 1 --json"
    assert command(**there).end()[1].startswith("usage: python -m app._vendor.stdevents ")


def test_a_copy_without_its_command_line_says_what_is_missing(command, tmp_path):
    """A vendored core."""
    ignored = shutil.ignore_patterns("_cli", "__pycache__")
    shutil.copytree(PACKAGE_PARENT / "stdevents", tmp_path / "events", ignore=ignored)
    missing = f"there is no command line in this copy: _cli is missing from {tmp_path / 'events'}"

    ended = command("status", module="events", path=tmp_path).end()
    assert ended == (2, "", f"stdevents: {missing}\n")


def test_a_fault_inside_the_command_line_is_not_taken_for_a_missing_one(command, tmp_path):
    shutil.copytree(PACKAGE_PARENT / "stdevents", tmp_path / "events")
    (tmp_path / "events" / "_cli" / "terminal.py").unlink()

    status, out, err = command("status", module="events", path=tmp_path).end()
    assert (status, out) == (1, "")
    assert "No module named 'events._cli.terminal'" in err


@pytest.mark.parametrize("arguments", [["status"], ["check"], ["clean"], ["post"]])
def test_a_wrong_name_says_which_buses_there_are(called, name, worker, arguments):
    worker()
    more = ["source", "event"] if arguments == ["post"] else []
    status, out, err = called(*arguments, f"{name}-not", *more)

    assert (status, out) == (2, "")
    known = f"stdevents: no bus '{name}-not': it exists while a worker has it open; there are: "
    assert err.startswith(known)
    assert name in err[len(known) :].split("; ")[0].rstrip().split(", ")
    assert err.count("\n") == 1


def test_a_wrong_name_says_which_buses_are_stale(called, name, worker):
    worker().kill()

    assert f"{name} (stale)" in called("status", f"{name}-not")[2]
    assert "no live worker" in called("status", name)[2]

    assert called("clean", name) == (0, f"{name}: removed\n", "")


# Run the commands that its arguments are, each with its exit status after what it said.
COMMANDS = """
import sys
from stdevents.__main__ import main
sys.stderr = sys.stdout
def run(*commands):
    for command in commands:
        sys.argv[1:] = command.split()
        print(main(), flush=True)
"""


def test_a_command_imports_no_other_command(name):
    program = f"""{COMMANDS}
run("clean {name}")
print(*sorted(name[15:] for name in sys.modules if name.startswith("stdevents._cli.")))
"""
    assert run(program).splitlines()[-1] == "buses clean main outside terminal"


def test_where_there_is_no_bus_it_is_told_how_to_make_one():
    commands = ["status", "status --json", "status not-there", "clean not-there"]
    told = run_on_small_memory("size=1m", f"{COMMANDS}run(*{commands})")
    no_bus = (
        "stdevents: no bus 'not-there': it exists while a worker has it open; "
        "other users' buses: sudo -u USER python -m stdevents status"
    )

    assert told == ["no bus of this user", "0", "0", no_bus, "2", no_bus, "2"]


@pytest.mark.skipif(ROOT != "/dev/shm", reason="buses live elsewhere here")
def test_where_there_is_no_dev_shm_it_is_told_what_to_do():
    """By the commands, and by `configure`."""
    commands = ["status", "status any", "tail any", "post any a b", "clean", "clean any"]
    program = f"""{COMMANDS}
import subprocess, stdevents
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev"], check=True)
try:
    stdevents.configure("any")
except stdevents.SegmentError as error:
    print(error.errno, error.strerror)
run(*{commands})
"""
    missing = (
        "there is no /dev/shm, in which the buses live; make it "
        "(on Linux: mount -t tmpfs -o mode=1777 tmpfs /dev/shm)"
    )
    configured, *told = run_on_small_memory("size=1m", program)

    assert configured == f"{errno.ENOENT} bus 'any': {missing}"
    assert told == [f"stdevents: {missing}", "1"] * len(commands)


def test_what_cannot_name_a_bus_is_told_so(called):
    status, out, err = called("status", "a/b")

    assert (status, out) == (2, "")
    assert "cannot name a bus" in err
