"""Django under gunicorn: the local-memory cache of every process, and a poll at each request."""

from __future__ import annotations

import pytest
from test_gunicorn import GUNICORN, WORKERS


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_every_worker_deletes_what_one_changed(preload, serve, told):
    server = serve(*GUNICORN, *preload, "django_app:application")
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


def test_a_request_that_begins_after_a_change_sees_it(serve, told):
    """No waiting: each worker polls before its next request."""
    server = serve(*GUNICORN, "django_app:application")
    workers = server.always_fresh("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")
