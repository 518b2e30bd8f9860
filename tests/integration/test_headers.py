"""What the header of each example says to install and to type is true, word for word."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from servers import BIN, EXAMPLES, environment

TOX = Path(__file__).parent.parent.parent / "tox.ini"
FILES = [example.name for example in sorted(EXAMPLES.glob("*.py"))]
ELSEWHERE = {"two_hosts.py"}  # needs a Redis: see tests/relay
WORKERS = 4
PATH = f"{BIN}:{os.environ['PATH']}"

# Servers listen on a socket of the test's own, instead of port 8000; uWSGI ends at SIGTERM.
OWN = (
    "GUNICORN_CMD_ARGS='-b unix:{socket}' UVICORN_UDS={socket} "
    "UWSGI_HOOK_MASTER_START='unix_signal:15 gracefully_kill_them_all'"
)


def lines(file):
    """The command lines of its header, from that which installs what it needs."""
    header = ast.get_docstring(ast.parse((EXAMPLES / file).read_text(encoding="utf-8")))
    (block,) = [part for part in header.split("\n\n") if part.lstrip().startswith("pip install")]
    return [line.strip() for line in block.splitlines()]


def packages(file):
    """What it installs, beside stdevents."""
    pip, install, stdevents, *more = shlex.split(lines(file)[0])
    assert (pip, install) == ("pip", "install")
    assert stdevents == (".[redis]" if file == "two_hosts.py" else ".")
    return set(more)


def server_of(file):
    """The server that its header starts."""
    found = re.search("; (gunicorn|uvicorn|uwsgi) ", " ".join(lines(file)))
    return found and found[1]


def request_of(line):
    """(path, data): what the curl command of a header asks for, and what it puts there."""
    data, path = re.fullmatch(
        r"curl (?:-X PUT -d (\S+) )?http://127\.0\.0\.1:8000(\S+)", line
    ).groups()
    return path, data


SERVERS = [file for file in FILES if server_of(file)]
PROGRAMS = [file for file in FILES if lines(file)[1].startswith("python ")]


@pytest.fixture
def clone(tmp_path):
    """A folder in which there is a folder `examples`, the one that the test has."""
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "examples").symlink_to(tmp_path)
    return clone


@pytest.fixture
def shell(clone, examples, name):
    """`shell(line)` runs it in a clone; what it says."""

    def shell(line):
        done = subprocess.run(
            ["sh", "-ec", line.replace("my-app", name)],
            cwd=clone,
            env=environment(PATH=PATH, PRICES=str(examples)),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, line
        return done.stdout

    return shell


def test_every_example_is_here():
    assert {*SERVERS, *PROGRAMS, "celery_app.py"} == {*FILES}


def test_what_is_installed_for_these_tests_is_what_the_headers_install():
    tox = ConfigParser(interpolation=None)
    tox.read(TOX)
    of_uwsgi = set(tox["testenv:uwsgi"]["deps"].split())
    assert tox["testenv:uwsgi"]["commands_pre"].endswith(" pip install --quiet uwsgi")
    theirs = set.union(*map(packages, FILES)) - {"gunicorn"}  # which is in gunicorn[gevent], too
    here = {*tox["testenv:integration"]["deps"].split(), *of_uwsgi, "uwsgi"}
    assert theirs | {"pytest", "redis"} == here


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.uwsgi if server_of(file) == "uwsgi" else ())
        for file in SERVERS
    ],
)
def test_a_server_starts_and_answers_as_its_header_says(file, clone, serve, told):
    begin, *requests = lines(file)[1:]
    begin = begin.replace("cd examples; ", f"cd clone/examples; {OWN} exec ")
    begin = begin.replace("127.0.0.1:8000", "{socket}")
    server = serve("/bin/sh", "-c", begin, PATH=PATH)
    if requests:
        put, get, *others = (server.ask(*request_of(line)) for line in requests)
        assert put["event"]
        assert get["price"] == "3.20"
        assert all(others)
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(requests)} requests of the header; {len(workers)} workers acted")


@pytest.mark.parametrize("file", [file for file in PROGRAMS if file not in ELSEWHERE])
def test_a_program_runs_as_its_header_says(file, shell):
    program = [re.sub(r" \[.+\]", "", line) for line in lines(file)[1:]]
    assert shell("\n".join([*program, "wait"]))


def test_celery_answers_as_its_header_says(examples, shell, start, told):
    (examples / "price-tea").unlink()
    begin, *asking = lines("celery_app.py")[1:]
    begin = begin.replace("cd examples; ", "cd clone/examples; exec ")
    worker = start("/bin/sh", "-c", begin, PATH=PATH)
    change, price = (ast.literal_eval(shell(line)) for line in asking)
    assert change["event"]
    assert price["price"] == "3.20"
    worker.stop()
    told(f"{len(asking)} tasks of the header")
