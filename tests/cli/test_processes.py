"""What the commands call the program behind a pid, and the users behind the other buses."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest
from inside import buses_of_others, command_of

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is of Linux")


@pytest.fixture
def called():
    """`called(arguments)`: what a process with these is called while it runs."""
    processes = []

    def called(*arguments, executable=sys.executable):
        process = subprocess.Popen(
            [executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        processes.append(process)
        process.stdout.readline()
        return command_of(process.pid)

    yield called
    for process in processes:
        process.kill()
        process.communicate()


WAIT = "import sys; print(flush=True); sys.stdin.read()"


@on_linux
def test_a_program_is_called_as_people_know_it(called, tmp_path):
    """Without its arguments, which may hold a password."""
    script = tmp_path / "app.py"
    script.write_text(WAIT)
    (tmp_path / "my_module.py").write_text(WAIT)
    assert called("-X", "dev", "-u", str(script), "--password=secret") == "app.py"
    assert called("-c", WAIT, "secret") == f"{os.path.basename(sys.executable)} -c"
    assert called("-c", "echo; read x", "secret", executable="/bin/sh") in ("sh", "dash", "bash")


@on_linux
def test_a_module_is_called_by_its_name(called, tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(WAIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert called("-W", "error", "-m", "my_module", "secret") == "my_module"


def test_a_process_that_cannot_be_looked_at_has_no_name():
    assert command_of((1 << 22) + 1) == ""


def test_the_buses_of_other_users_are_told_with_their_users(monkeypatch):
    """By root, say, who forgot to say whose bus is meant."""
    mine = os.geteuid()
    other = next(user for user in pwd.getpwall() if user.pw_uid != mine)
    nobody = max(user.pw_uid for user in pwd.getpwall() if user.pw_uid < 1 << 31) + 4711
    buses = {mine: ["mine"], other.pw_uid: ["my-app"], nobody: ["a", "b"]}
    assert buses_of_others(monkeypatch, buses) == [
        f"1 of user {other.pw_name}: my-app",
        f"2 of user #{nobody}: a, b",
    ]
