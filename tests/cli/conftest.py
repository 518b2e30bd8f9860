"""Commands and workers that do not outlive their test."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from commands import WORKER, Program
from programs import PACKAGE_PARENT, PYTHON, start

from stdevents.__main__ import main


@pytest.fixture
def programs():
    """Keeps what was started, and ends it."""
    started = []
    yield started
    for program in started:
        program.process.kill()
        program.end()


@pytest.fixture
def worker(programs, name):
    """`worker(...)` starts one that has the bus open; all have left it when the test is over."""
    workers = []

    def worker(**options):
        program = Program(start(WORKER, name, json.dumps(options)))
        programs.append(program)
        workers.append(program)
        assert program.line() == "open"
        return program

    yield worker
    for program in workers:
        program.end()


@pytest.fixture
def called(monkeypatch, capsys):
    """`status, out, err = called(...)`: a command in this process, which is quick."""

    def called(*arguments, **environment):
        monkeypatch.setattr("sys.argv", ["stdevents", *arguments])
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        capsys.readouterr()
        try:
            status = main()
        except SystemExit as end:
            status = end.code
        return (status, *capsys.readouterr())

    return called


@pytest.fixture
def command(programs):
    """`command(...)` starts one as a process; `status, out, err = command(...).end()`."""

    def command(
        *arguments, module="stdevents", path=PACKAGE_PARENT, stdout=subprocess.PIPE, **environment
    ):
        process = subprocess.Popen(
            [*PYTHON, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(path), **environment},
            cwd="/",
        )
        programs.append(Program(process))
        return programs[-1]

    return command
