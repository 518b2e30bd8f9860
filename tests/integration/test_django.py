"""Django under gunicorn: the local-memory cache of every process, and a poll at each request."""

from __future__ import annotations

import os
import signal

import pytest
from servers import Load, wait_until
from test_gunicorn import GUNICORN, WORKERS

preloaded_or_not = pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
each_kind = pytest.mark.parametrize(
    "kind", [("-k", "sync"), ("-k", "gthread", "--threads", "4")], ids=["sync", "gthread"]
)


@pytest.fixture
def django(serve):
    return lambda *options: serve(*GUNICORN, *options, "django_app:application")


@preloaded_or_not
def test_every_worker_deletes_what_one_changed(preload, django, witness, told):
    """And the master, which handles no requests, and so would not poll, is none of them."""
    server = django(*preload)
    workers = server.change_price("tea", WORKERS)
    assert witness().others() == workers
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


@each_kind
@preloaded_or_not
def test_a_request_that_begins_after_a_change_sees_it(kind, preload, django, told):
    """No waiting: each worker polls before its next request."""
    server = django(*preload, *kind)
    workers = server.always_fresh("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")


def test_a_handler_that_fails_is_seen_in_the_log(django, witness, told):
    server = django()
    server.change_price("tea", WORKERS)
    server.tells_failures("/prices/tea", witness(), WORKERS)
    told(f"{server.failures()} workers told of it, {server.requests} requests")


@preloaded_or_not
def test_a_reload_and_a_kill_under_load_leave_only_workers_that_act(preload, django, witness, told):
    server = django(*preload)
    old = server.change_price("tea", WORKERS)
    watching = witness()
    with Load(server) as load:
        wait_until(lambda: load.pids() >= old, "load on the old workers")
        server.send(signal.SIGHUP)
        wait_until(lambda: not watching.others() & old, "the end of the old workers")
        wait_until(lambda: len(watching.others()) == WORKERS, "the new workers")
        victim = min(watching.others())
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: len(watching.others() - {victim}) == WORKERS, "its successor")
    assert server.always_fresh("tea", WORKERS) == watching.others()
    watching.bus.close()
    server.send(signal.SIGTERM)
    server.end()
    told(
        f"{len(old)} workers replaced, 1 killed; all acted; {server.requests} requests, "
        f"{len(load.failures)} failed meanwhile"
    )
