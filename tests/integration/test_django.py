"""Django under gunicorn: the local-memory cache of every process, and a poll at each request."""

from __future__ import annotations

import pytest

WORKERS = 3


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_every_worker_deletes_what_one_changed(preload, serve, told):
    server = serve(
        *("gunicorn", "-b", "{address}", "-w", str(WORKERS), "--log-level", "warning"),
        *(*preload, "django_app:application"),
    )
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")


def test_a_request_that_begins_after_a_change_sees_it(serve, told):
    """No waiting: each worker polls before its next request."""
    server = serve(
        *("gunicorn", "-b", "{address}", "-w", str(WORKERS), "--log-level", "warning"),
        "django_app:application",
    )
    workers = set()
    for count in range(10):
        server.ask("/prices/tea", f"{count}.50")
        answers = server.crowd("/prices/tea", 16)
        assert {answer["price"] for answer in answers} == {f"{count}.50"}
        workers |= {answer["pid"] for answer in answers}
    assert len(workers) == WORKERS
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")
