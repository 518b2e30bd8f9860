"""uvicorn: several workers, each of which handles events on its event loop."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from inside import folder_of
from servers import PATIENCE, Load, wait_until

WORKERS = 3
ONE_UVICORN = ("uvicorn", "--uds", "socket", "--log-level", "warning")
UVICORN = ("uvicorn", "--uds", "{socket}", "--workers", str(WORKERS), "--log-level", "warning")
# Who has nothing to do but to wait for a processor is not hung; but one that is killed between a
# question and its answer is waited for as long. Not as an option: uvicorn has it since lately.
PATIENT = {"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": f"{PATIENCE / 3:g}"}


def test_every_worker_drops_what_one_changed(serve, witness, told):
    server = serve(*UVICORN, "asgi_app:app", **PATIENT)
    workers = server.change_price("tea", WORKERS)
    watching = witness()
    assert watching.others() == workers
    watching.bus.close()
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


def test_a_request_that_begins_after_a_change_sees_it(woken_or_not, serve, told):
    server = serve(*UVICORN, "asgi_app:app", **PATIENT)
    workers = server.always_fresh("tea", WORKERS, rounds=30)
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")


def test_a_handler_that_fails_is_seen_in_the_log(serve, witness, told):
    server = serve(*UVICORN, "asgi_app:app", **PATIENT)
    server.change_price("tea", WORKERS)
    server.tells_failures("/prices/tea", witness(), WORKERS)
    told(f"{server.failures()} workers told of it, {server.requests} requests")


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_a_bus_that_cannot_be_opened_ends_the_server_with_its_name(workers, start, name, told):
    """Else it would serve from caches that nobody invalidates."""
    in_the_way = Path(folder_of(name))
    in_the_way.touch()
    try:
        server = start(*ONE_UVICORN, "--workers", workers, "asgi_app:app", **PATIENT)
        status = server.end()
    finally:
        in_the_way.unlink()
    assert f"bus {name!r}: {in_the_way} is a link or a file, not a folder" in server.log()
    assert "Application startup failed. Exiting." in server.log()
    if workers == 1:  # with several, uvicorn ends likewise, but with status 0
        assert status == 3
    told(f"{workers} workers: ended with status {status}")


def test_a_killed_worker_has_a_successor_that_acts(serve, witness, told):
    server = serve(*UVICORN, "asgi_app:app", **PATIENT)
    before = server.change_price("tea", WORKERS)
    watching = witness()
    victim = min(before)
    with Load(server) as load:
        wait_until(lambda: load.pids() >= before, "load on all workers")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(watching.others() - {victim}) == WORKERS, "its successor")
    after = server.change_price("tea", WORKERS)
    assert len(before & after) == WORKERS - 1
    watching.bus.close()
    server.stop()
    told(
        f"killed 1 of {WORKERS}; its successor and the others acted; {server.requests} requests, "
        f"{len(load.failures)} failed with it"
    )


def test_a_reload_under_load_leaves_only_the_new_workers(serve, witness, told):
    server = serve(*UVICORN, "asgi_app:app", **PATIENT)
    old = server.change_price("tea", WORKERS)
    watching = witness()
    with Load(server) as load:
        wait_until(lambda: load.pids() >= old, "load on the old workers")
        server.send(signal.SIGHUP)
        wait_until(
            lambda: len(watching.others() - old) == WORKERS and not watching.others() & old,
            "the new workers, and the end of the old ones",
        )
    new = server.change_price("tea", WORKERS)
    assert new == watching.others()
    assert set(watching.stopped) >= old
    watching.bus.close()
    server.stop()
    told(
        f"{len(old)} workers replaced by {len(new)}, which all acted; {server.requests} requests, "
        f"{len(load.failures)} refused while it reloaded"
    )
