"""gunicorn: every kind of worker, preloaded or not; reloaded, worn out and killed under load."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
from servers import EXAMPLES, PATIENCE, Load, wait_until

WORKERS = 3
CONFIGURED = {
    "sync": ("-c", "gunicorn_conf.py", "-k", "sync", "flask_app:app"),
    "gthread": ("-c", "gunicorn_conf.py", "-k", "gthread", "--threads", "4", "flask_app:app"),
    "gevent": ("-c", "gevent_conf.py", "flask_app:app"),
}
PRELOADED = ("--preload", "preloaded_app:app")
GUNICORN = (
    *("gunicorn", "-b", "unix:{socket}", "-w", str(WORKERS), "--log-level", "warning"),
    # A worker that has nothing to do but to wait for a processor is neither hung nor too slow.
    *("--timeout", f"{PATIENCE:g}", "--graceful-timeout", f"{PATIENCE:g}"),
)

each_kind = pytest.mark.parametrize("kind", CONFIGURED)
each_command = pytest.mark.parametrize(
    "command", [*CONFIGURED.values(), PRELOADED], ids=[*CONFIGURED, "preloaded"]
)
preloaded_or_not = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])


def handles_signals(pid):
    """Has the worker its own signal handlers by now? Of SIGABRT its master has none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # it has ended
        return False
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", status)
    return int(caught, 16) >> (signal.SIGABRT - 1) & 1


@each_kind
@preloaded_or_not
def test_every_worker_drops_what_one_changed(kind, preload, serve, told):
    server = serve(*GUNICORN, *preload, *CONFIGURED[kind])
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


@pytest.mark.parametrize("kind", ["sync", "gthread"])
@preloaded_or_not
def test_a_bus_that_the_app_opened_at_its_import(kind, preload, serve, witness, told):
    server = serve(*GUNICORN, *preload, "-k", kind, "preloaded_app:app")
    workers = server.change_price("tea", WORKERS)
    on_the_bus = witness().others()
    assert on_the_bus == workers | ({server.pid} if preload else set())
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


@each_command
def test_a_request_that_begins_after_a_change_sees_it(command, woken_or_not, serve, told):
    """No waiting for a loop: each worker polls before its next request."""
    server = serve(*GUNICORN, *command)
    workers = server.always_fresh("tea", WORKERS, rounds=30)
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")


@each_command
def test_a_handler_that_fails_is_seen_in_the_log(command, serve, witness, told):
    server = serve(*GUNICORN, *command)
    server.change_price("tea", WORKERS)
    watching = witness()
    server.tells_failures("/prices/tea", watching, len(watching.others()))
    told(f"{server.failures()} processes told of it, {server.requests} requests")


def test_it_is_seen_in_the_log_file_that_gunicorn_is_given(serve, witness, told):
    server = serve(*GUNICORN, "--error-logfile", "errors", *CONFIGURED["sync"])
    server.change_price("tea", WORKERS)
    server.tells_failures("/prices/tea", witness(), WORKERS, file="errors")
    assert server.failures() == 0  # not in two places
    told(f"{server.failures('errors')} workers told of it, {server.requests} requests")


@each_kind
def test_a_reload_under_load_leaves_only_the_new_workers(kind, serve, witness, told):
    server = serve(*GUNICORN, *CONFIGURED[kind])
    old = server.change_price("tea", WORKERS)
    watching = witness()
    with Load(server) as load:
        wait_until(lambda: load.pids() >= old, "load on the old workers")
        server.send(signal.SIGHUP)
        wait_until(lambda: len(watching.others() - old) == WORKERS, "the new workers")
        wait_until(lambda: not watching.others() & old, "the end of the old workers")
        new = watching.others()
        wait_until(lambda: load.pids() >= new, "load on the new workers")
    assert server.change_price("tea", WORKERS) == new
    assert set(watching.stopped) >= old
    assert watching.bus.stats().lost == 0
    watching.bus.close()
    server.stop()
    told(
        f"{len(old)} workers replaced by {len(new)}, which all acted; {server.requests} requests, "
        f"{len(load.failures)} refused while it reloaded"
    )


def test_the_command_lines_of_the_systemd_unit(serve, witness, told):
    unit = RawConfigParser()
    unit.optionxform = str
    unit.read(EXAMPLES / "my-app.service")
    service = unit["Service"]
    assert service["WorkingDirectory"] == "/srv/my-app"  # here: the folder of the examples
    gunicorn, *arguments = shlex.split(service["ExecStart"])
    assert gunicorn == "/usr/bin/gunicorn"
    server = serve("gunicorn", "-b", "unix:{socket}", *arguments)
    old = server.change_price("tea", 4)
    watching = witness()
    reload = {**os.environ, "MAINPID": str(server.pid)}
    # The program belongs to procps, which may be missing; any sh has its own.
    command = service["ExecReload"].replace("/bin/kill ", "kill ")
    subprocess.run(["sh", "-c", command], env=reload, check=True)
    wait_until(lambda: not watching.others() & old, "the end of the old workers")
    new = server.change_price("tea", 4)
    assert not new & old
    watching.bus.close()
    server.stop()
    told(f"{len(old)} workers acted, and {len(new)} after the reload; {server.requests} requests")


def test_workers_that_are_replaced_after_some_requests(serve, witness, told):
    most = 15
    server = serve(*GUNICORN, "--max-requests", str(most), *CONFIGURED["sync"])
    watching = witness()
    seen = set()
    for count in range(12):
        price = f"{count}.50"
        event = server.ask("/prices/tea", price)["event"]
        watching.bus.post("test", "after the change")
        wait_until(lambda: watching.all_have_handled(event), "all to have handled it")  # noqa: B023
        answers = server.crowd("/prices/tea", 16)
        assert {answer["price"] for answer in answers} == {price}
        seen |= {answer["pid"] for answer in answers}
    assert len(seen) > WORKERS

    # gunicorn loses a SIGTERM to a worker that it has just forked, and waits for that one then.
    def settled():
        workers = watching.others()
        worn_out = any(server.answers[worker] >= most for worker in workers)
        return len(workers) == WORKERS and not worn_out and all(map(handles_signals, workers))

    wait_until(settled, "nobody to be replaced any more")
    watching.bus.close()
    server.stop()
    told(f"{len(seen)} workers took turns, {server.requests} requests, none stale")


def test_a_killed_worker_is_gone_from_the_bus_and_its_successor_is_on_it(serve, witness, told):
    server = serve(*GUNICORN, *CONFIGURED["sync"])
    before = server.change_price("tea", WORKERS)
    watching = witness()
    victim = min(before)
    with Load(server) as load:
        wait_until(lambda: load.pids() >= before, "load on all workers")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(watching.others() - {victim}) == WORKERS, "its successor")
    after = server.change_price("tea", WORKERS)
    assert after == watching.others()
    assert len(before & after) == WORKERS - 1
    assert victim not in watching.stopped  # G5: not a word from it, and yet nothing is held
    watching.bus.close()
    server.send(signal.SIGTERM)
    server.end()
    told(
        f"killed 1 of {WORKERS}; its successor and the others acted; {server.requests} requests, "
        f"{len(load.failures)} failed with it"
    )


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_a_change_that_is_answered_is_known_to_all_workers(kind, serve, told):
    """`wait`: no request looks for what is new, and none is stale."""
    app = [one.replace("flask_app", "together_app") for one in CONFIGURED[kind]]
    server = serve(*GUNICORN, *app)
    workers = server.always_fresh("tea", WORKERS, rounds=100)
    metrics = server.ask("/metrics")
    assert metrics["workers"] == WORKERS
    assert metrics["requests"]["PUT"] == 100
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")
