"""What the header of each example says to install and to type is true, word for word."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shlex
import socket
import socketserver
import subprocess
import threading
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
NO_PRICES = {"metrics_app.py", "reloaded.py", "websocket_app.py"}  # which could be changed
QUEUES = {  # and what tells them where their Redis is, if they need one
    "celery_app.py": "",
    "dramatiq_app.py": "BROKER",
    "huey_app.py": "",
    "rq_app.py": "RQ_REDIS_URL",
}
# What no header of a .py file installs: what the tests need, and what headers only name.
BESIDE = {"pytest", "pytest-xdist", "redis", "ipykernel", "nbclient"}
BESIDE |= {"daphne", "granian", "hypercorn"}
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


@pytest.fixture
def begin(clone, serve):
    """`begin(file)` starts the server of a header."""

    def begin(file, **options):
        command = lines(file)[1].replace("cd examples; ", f"cd clone/examples; {OWN} exec ")
        command = command.replace("127.0.0.1:8000", "{socket}")
        return serve("/bin/sh", "-c", command, PATH=PATH, **options)

    return begin


class Door(socketserver.StreamRequestHandler):
    """A connection that leads to the socket of a server."""

    def handle(self):
        with socket.socket(socket.AF_UNIX) as inside:
            inside.connect(self.server.inside)
            back = threading.Thread(target=self._copy, args=(inside, self.request))
            back.start()
            self._copy(self.request, inside)
            back.join()

    @staticmethod
    def _copy(source, target):
        for part in iter(lambda: source.recv(2**16), b""):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def port():
    """`port(server)` leads to the server's socket. Nobody else can get it meanwhile."""
    with contextlib.ExitStack() as doors:

        def port(server):
            door = doors.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Door))
            door.inside = server.socket
            threading.Thread(target=door.serve_forever, args=(0.05,)).start()
            doors.callback(door.shutdown)
            return door.server_address[1]

        yield port


def test_every_example_is_here():
    assert {*SERVERS, *PROGRAMS, *QUEUES} == {*FILES}


def test_what_is_installed_for_these_tests_is_what_the_headers_install():
    tox = ConfigParser(interpolation=None)
    tox.read(TOX)
    of_uwsgi = set(tox["testenv:uwsgi"]["deps"].split())
    installs = " pip install --quiet --no-cache-dir uwsgi"
    assert tox["testenv:uwsgi"]["commands_pre"].endswith(installs)
    theirs = set.union(*map(packages, FILES)) - {"gunicorn"}  # which is in gunicorn[gevent], too
    here = {*tox["testenv:integration"]["deps"].split(), *of_uwsgi, "uwsgi"}
    assert theirs | BESIDE == here


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=pytest.mark.uwsgi if server_of(file) == "uwsgi" else ())
        for file in SERVERS
        if file not in NO_PRICES
    ],
)
def test_a_server_starts_and_answers_as_its_header_says(file, begin, told):
    requests = lines(file)[2:]
    server = begin(file)
    if requests:
        put, get, *others = (server.ask(*request_of(line)) for line in requests)
        assert put["event"]
        assert get["price"] == "3.20"
        assert all(others)
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(requests)} requests of the header; {len(workers)} workers acted")


def test_the_metrics_are_asked_for_as_the_header_says(begin):
    server = begin("metrics_app.py")
    price, metrics = (server.read(request_of(line)[0]) for line in lines("metrics_app.py")[2:])
    assert json.loads(price)["price"] == "1.00"
    assert 'prices_looked_up_total{item="tea"} 2.0' in metrics  # the first by this test itself
    server.stop()


def test_a_script_asks_who_has_reloaded_as_its_header_says(begin, shell):
    server = begin("reloaded.py")
    *waiting, last = shell(lines("reloaded.py")[2]).splitlines()
    assert last == f"all {WORKERS} workers run it"
    assert all("do not run it yet" in line for line in waiting)
    server.stop()


def test_who_types_into_a_websocket_hears_it_as_the_header_says(begin, port):
    server = begin("websocket_app.py", path="/docs")
    line = lines("websocket_app.py")[2].replace("8000", str(port(server)))
    with subprocess.Popen(
        ["sh", "-c", f"exec {line}"],
        env=environment(PATH=PATH),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        client.stdin.write("Hello, all\n")
        client.stdin.flush()
        assert any("< Hello, all" in line for line in client.stdout)
        client.stdin.close()
    server.stop()


@pytest.mark.parametrize("file", [file for file in PROGRAMS if file not in ELSEWHERE])
def test_a_program_runs_as_its_header_says(file, shell):
    program = [re.sub(r" \[.+\]", "", line) for line in lines(file)[1:]]
    assert shell("\n".join([*program, "wait"]))


@pytest.mark.parametrize("file", QUEUES)
def test_a_queue_answers_as_its_header_says(
    file, examples, shell, start, monkeypatch, request, told
):
    (examples / "price-tea").unlink()
    if QUEUES[file]:
        monkeypatch.setenv(QUEUES[file], request.getfixturevalue("redis_url"))
    begin, *asking = lines(file)[1:]
    begin = begin.replace("cd examples; ", "cd clone/examples; exec ")
    worker = start("/bin/sh", "-c", begin, PATH=PATH)
    change, price = (ast.literal_eval(shell(line)) for line in asking)
    assert change["event"]
    assert price["price"] == "3.20"
    worker.stop()
    told(f"{len(asking)} tasks of the header")
