"""A copy of the examples with a bus of the test's own, servers that do not outlive it, and a
witness: what this test looks at is the public interface and what comes by HTTP."""

from __future__ import annotations

import os
import select
import shutil
import sysconfig
from pathlib import Path

import pytest
from servers import BIN, EXAMPLES, PATIENCE, SECRET, Process, Server

import stdevents


def why_not_compiled():
    """What keeps an extension, such as uWSGI, from being compiled for this Python; or nothing."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        return "there is no C compiler here"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's header files are not here"
    return ""


def pytest_collection_modifyitems(items):
    """uWSGI is compiled when it is installed. Where it could be, and is not, its tests fail."""
    reason = why_not_compiled()
    if reason and not (BIN / "uwsgi").exists():
        for item in items:
            if item.get_closest_marker("uwsgi"):
                item.add_marker(pytest.mark.skip(reason=f"uWSGI is not installed: {reason}"))


@pytest.fixture
def examples(tmp_path, name):
    """The examples, in a folder of their own, on a bus of their own."""
    for example in EXAMPLES.glob("*.py"):
        text = example.read_text(encoding="utf-8").replace('"my-app"', f'"{name}"')
        (tmp_path / example.name).write_text(text, encoding="utf-8")
    (tmp_path / "price-tea").write_text("1.00")
    return tmp_path


@pytest.fixture
def without_epoll(examples, monkeypatch):
    """The examples as on macOS, where no post wakes another worker's loop."""
    monkeypatch.setattr("select.epoll", select.epoll)  # a test may import one of them itself
    found, without = "\nimport stdevents\n", '\nimport select; vars(select).pop("epoll", 0)'
    for example in examples.glob("*.py"):
        text = example.read_text(encoding="utf-8")
        example.write_text(text.replace(found, without + found), encoding="utf-8")


@pytest.fixture(params=["", "no-epoll"])
def woken_or_not(request):
    """The examples as they are; and as on macOS, where no post wakes another worker's loop."""
    if request.param:
        request.getfixturevalue("without_epoll")


@pytest.fixture
def processes():
    started = []
    yield started
    for process in started:
        process.kill()


@pytest.fixture
def start(examples, processes):
    """`start(command, ...)` runs a program of the venv's in the folder of the examples."""

    def start(*command, **environment):
        processes.append(Process(examples, *command, PRICES=str(examples), **environment))
        return processes[-1]

    return start


@pytest.fixture
def serve(examples, processes):
    """`serve(command, ...)` starts a server there, and waits until it answers."""

    def serve(*command, path="/prices/tea", **environment):
        processes.append(Server(examples, *command, PRICES=str(examples), **environment))
        processes[-1].wait(path)
        return processes[-1]

    return serve


@pytest.fixture
def redis_url():
    """A Redis of the test's own, if there is one here."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server here")
    from tests.relay.server import Server as Redis

    server = Redis()
    yield f"unix://{server.path}"
    server.remove()


@pytest.fixture
def told(request):
    """`told(text)`: a line of what was seen, for the end of the run."""
    return lambda text: request.config.stash[lines].append(f"{request.node.name}: {text}")


class Witness:
    """A worker of the bus that belongs to the test: sees who starts and stops, and who is there."""

    def __init__(self, name):
        self.started, self.stopped = [], []
        self.bus = stdevents.Bus()
        self.bus.register(lambda *told: self.started.append(told[3]), "stdevents", "started")
        self.bus.register(lambda *told: self.stopped.append(told[3]), "stdevents", "stopping")
        self.bus.configure(name, interval=0, start="oldest", wait_max=PATIENCE)

    def others(self):
        self.bus.poll()
        return {worker.pid for worker in self.bus.workers()} - {os.getpid()}

    def make_handlers_fail(self):
        """Post what the examples' handlers cannot make sense of."""
        self.bus.post("prices", "changed", {"wrong": SECRET})
        self.bus.post("cache", "delete", {"wrong": SECRET})

    def all_have_handled(self, event):
        """Has everybody handled all up to the event `event`?"""
        # A position says that an event was taken; the next one, that its handlers are done.
        self.bus.poll()
        return all(
            worker.position > event for worker in self.bus.workers() if worker.pid != os.getpid()
        )


@pytest.fixture
def witness(name):
    """`witness()` joins the bus, once the servers are there."""
    witnesses = []

    def join():
        witnesses.append(Witness(name))
        return witnesses[-1]

    yield join
    for each in witnesses:
        each.bus.close()


lines = pytest.StashKey()


def pytest_configure(config):
    config.stash[lines] = []


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.section("what was seen")
    for line in config.stash[lines]:
        terminalreporter.write_line(line)
