"""ASGI on other servers than uvicorn, with a framework, without a lifespan, and WebSockets."""

from __future__ import annotations

import contextlib
import signal

import pytest
from servers import wait_until
from websockets.sync.client import unix_connect

WORKERS = 3
UVICORN = ("uvicorn", "--uds", "{socket}", "--workers", str(WORKERS), "--log-level", "warning")
SERVERS = {
    "uvicorn": UVICORN,
    "hypercorn": ("hypercorn", "--bind", "unix:{socket}", "--workers", str(WORKERS)),
    "granian": (
        *("granian", "--interface", "asgi", "--uds", "{socket}", "--workers", str(WORKERS)),
        *("--log-level", "warning"),
    ),
}

each_server = pytest.mark.parametrize("server", SERVERS)


@each_server
def test_a_change_that_is_answered_is_known_to_all_workers(server, serve, witness, told):
    """By `wait`, on the event loop; and the lifespan opens and closes the bus."""
    server = serve(*SERVERS[server], "fastapi_app:app")
    workers = server.always_fresh("tea", WORKERS, rounds=30)
    assert {int(pid) for pid in server.ask("/workers")["cached"]} == workers
    watching = witness()
    assert watching.others() == workers
    watching.bus.close()
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")


def test_a_change_is_answered_late_where_no_post_wakes_the_others(without_epoll, serve, told):
    """As on macOS, where each looks once a second: there it is `wait` that keeps them fresh."""
    server = serve(*UVICORN, "fastapi_app:app")
    workers = server.always_fresh("tea", WORKERS, rounds=4)
    server.stop()
    told(f"{len(workers)} workers, {server.requests} requests, none stale")


@each_server
def test_the_last_worker_says_that_it_stops(server, serve, witness, told):
    server = serve(*SERVERS[server], "fastapi_app:app")
    workers = server.always_fresh("tea", WORKERS, rounds=1)
    watching = witness()
    server.send(signal.SIGTERM)
    server.end()
    assert not watching.others()
    assert set(watching.stopped) == workers
    told(f"{len(workers)} workers said so")


def test_a_server_that_has_no_lifespan(serve, witness, told):
    """Daphne has one process; four of them are four workers."""
    daphnes = [serve("daphne", "-u", "{socket}", "-v", "0", "asgi_app:app") for _ in range(WORKERS)]
    watching = witness()
    assert watching.others() == {daphne.pid for daphne in daphnes}
    for count in range(10):
        price = f"{count}.50"
        assert daphnes[count % WORKERS].ask("/prices/tea", price)["event"]
        for daphne in daphnes:
            assert daphne.ask("/prices/tea")["price"] == price
            assert daphne.ask("/prices/tea")["cached"]
    for daphne in daphnes:
        daphne.stop()
    wait_until(lambda: not watching.others(), "their end")
    assert set(watching.stopped) == {daphne.pid for daphne in daphnes}
    watching.bus.close()
    told(f"{WORKERS} processes, {sum(daphne.requests for daphne in daphnes)} requests")


def test_clients_of_all_workers_hear_the_same(start, examples, witness, told):
    """In the same order, whichever worker they have reached."""
    socket = str(examples / "http")
    command = [part.replace("{socket}", socket) for part in UVICORN]
    server = start(*command, "websocket_app:app")
    watching, speakers = witness(), set()
    watching.bus.register(lambda *said: speakers.add(said[3]), "chat")
    wait_until(lambda: len(watching.others()) == WORKERS, lambda: f"the workers; {server.log()}")
    with contextlib.ExitStack() as connections:
        clients = [
            connections.enter_context(unix_connect(socket, "ws://127.0.0.1/chat"))
            for _ in range(4 * WORKERS)
        ]
        for count, client in enumerate(clients):
            client.send(f"I am {count}")
        heard = [[client.recv() for _ in clients] for client in clients]
    assert all(one == heard[0] for one in heard)  # G1
    assert sorted(heard[0]) == sorted(f"I am {count}" for count in range(len(clients)))
    assert speakers <= watching.others()
    watching.bus.close()
    server.stop()
    told(f"{len(clients)} clients, of {len(speakers)} workers")
