"""uWSGI: prefork, with the app loaded before or after the fork, with threads and without."""

from __future__ import annotations

import os
import signal

import pytest
from servers import Load, wait_until

WORKERS = 3
UWSGI = (
    *("uwsgi", "--http-socket", "{socket}", "--master", "--processes", str(WORKERS)),
    *("--need-app", "--disable-logging"),
    # Else a worker that is busy at the end does not run its exit handlers, and leaves its bus to
    # be removed by the next start.
    *("--hook-master-start", "unix_signal:15 gracefully_kill_them_all"),
)

pytestmark = pytest.mark.uwsgi

lazy_or_not = pytest.mark.parametrize("lazy", [(), ("--lazy-apps",)], ids=["", "lazy-apps"])
threads_or_not = pytest.mark.parametrize(
    "threads", [(), ("--enable-threads",)], ids=["", "enable-threads"]
)


@lazy_or_not
@threads_or_not
def test_every_worker_drops_what_one_changed(lazy, threads, serve, told):
    server = serve(*UWSGI, *lazy, *threads, "--module", "uwsgi_app:app")
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


def test_a_bus_that_the_app_opened_before_the_fork(serve, witness, name, told):
    """G7: of the fork hooks uWSGI runs only the child's, with this option."""
    option = "--py-call-uwsgi-fork-hooks"
    server = serve(*UWSGI, "--enable-threads", option, "--module", "preloaded_app:app")
    workers = server.change_price("tea", WORKERS)
    watching = witness()
    assert watching.others() == workers | {server.pid}
    server.stop()
    assert watching.others() == set()  # uWSGI's master runs no exit handlers: its slot is free
    told(f"{len(workers)} workers acted, {server.requests} requests")


def test_without_this_option_the_bus_is_not_opened_before_the_fork(start):
    """The workers could not know that they are processes of their own."""
    command = [part.replace("{socket}", "http") for part in UWSGI]
    server = start(*command, "--module", "preloaded_app:app")
    assert server.end() != 0
    assert "uWSGI forks its workers without telling Python" in server.log()


def test_a_request_that_begins_after_a_change_sees_it(serve, told):
    """No waiting, and no threads: each worker polls before its next request."""
    server = serve(*UWSGI, "--module", "uwsgi_app:app")
    workers = server.always_fresh("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")


@lazy_or_not
def test_a_handler_that_fails_is_seen_in_the_log(lazy, serve, witness, told):
    server = serve(*UWSGI, *lazy, "--module", "uwsgi_app:app")
    server.change_price("tea", WORKERS)
    server.tells_failures("/prices/tea", witness(), WORKERS)
    told(f"{server.failures()} workers told of it, {server.requests} requests")


@lazy_or_not
def test_a_reload_under_load_leaves_only_the_new_workers(lazy, serve, witness, told):
    server = serve(*UWSGI, *lazy, "--module", "uwsgi_app:app")
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
    watching.bus.close()
    server.stop()
    told(
        f"{len(old)} workers replaced by {len(new)}, which all acted; {server.requests} requests, "
        f"{len(load.failures)} refused while it reloaded"
    )


def test_a_killed_worker_has_a_successor_that_acts(serve, witness, told):
    server = serve(*UWSGI, "--module", "uwsgi_app:app")
    before = server.change_price("tea", WORKERS)
    watching = witness()
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(watching.others() - {min(before)}) == WORKERS, "its successor")
    after = server.change_price("tea", WORKERS)
    assert len(before & after) == WORKERS - 1
    watching.bus.close()
    server.stop()
    told(f"killed 1 of {WORKERS}; its successor and the others acted; {server.requests} requests")
