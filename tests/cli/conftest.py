"""Commands and workers that do not outlive their test."""

from __future__ import annotations

import os
import subprocess

import pytest
from commands import Program, Worker, work
from programs import PACKAGE_PARENT, PYTHON

from stdevents.__main__ import main


@pytest.fixture
def programs(watchdog):
    """Keeps what was started, and ends it."""
    started = []
    yield started
    for program in started:
        program.process.kill()
        program.end()


@pytest.fixture
def worker(fork, name):
    """`worker(...)` starts one that has the bus open; all have left it when the test is over."""
    workers = []

    def worker(bus_name=name, **options):
        workers.append(Worker(fork(work, bus_name, options)))
        return workers[-1]

    yield worker
    for one in workers:
        one.leave()


@pytest.fixture
def called(monkeypatch, capsys):
    """`status, out, err = called(...)`: a command in this process, which is quick."""

    def called(*arguments, **environment):
        monkeypatch.setattr("sys.argv", ["__main__.py", *arguments])
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
