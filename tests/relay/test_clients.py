"""The clients that a relay takes, and those that it refuses."""

from __future__ import annotations

import threading

import pytest
import redis
from children import SECONDS
from exchange import exchange
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from server import LOOPBACK, TIMEOUT

import stdevents


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"protocol": 3},
        {"db": 3},
        {"health_check_interval": 1},
        {"max_connections": 2},
        {"retry": Retry(ExponentialBackoff(), 3)},
    ],
    ids=["plain", "RESP 3", "another database", "health checks", "two connections", "retries"],
)
@pytest.mark.parametrize("server", [LOOPBACK], indirect=True)
def test_a_client_works_with_either_option(host, server, options):
    client = server.client(**options)
    exchange(host("a", client=client), host("b", client=server.client(**options)))


def test_a_name_is_one_key_however_a_client_encodes_text(host, server, client):
    """One that is not ASCII. Else what is posted is in one stream, and another one is read."""
    ours, others = server.client(encoding="latin-1"), server.client()
    exchange(host("a", client=ours, stream="Zürich"), host("b", client=others, stream="Zürich"))
    assert client.keys("*rich") == ["Zürich".encode()]


def test_a_client_that_is_made_of_a_url_works(host, server):
    url = f"unix://{server.path}?socket_timeout={TIMEOUT}"
    clients = [redis.Redis.from_url(url) for _ in range(2)]
    exchange(*(host(suffix, client=client) for suffix, client in zip("ab", clients)))
    for client in clients:
        client.connection_pool.disconnect()


def pool(server, connections, **options):
    options = {"path": server.path, "socket_timeout": TIMEOUT, **options}
    return redis.BlockingConnectionPool(
        connections, SECONDS, redis.UnixDomainSocketConnection, **options
    )


def test_a_pool_that_blocks_is_shared_by_the_relay_and_by_those_who_post(host, server):
    """More threads than connections: each waits for its turn, and the reader is not left out."""
    connections = pool(server, 3)
    a = host("a", client=redis.Redis(connection_pool=connections))
    b = host("b", client=redis.Redis(connection_pool=connections))

    def post(thread):
        for number in range(20):
            a.relay.post("test", "event", [thread, number])

    threads = [threading.Thread(target=post, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for one in (a, b):
        one.wait_for(lambda: len(one.seen) == 6 * 20)  # noqa: B023
    for thread in threads:
        thread.join()
    connections.disconnect()


def test_a_client_with_a_single_connection_is_refused(bus, server):
    """The thread that waits for the stream needs one besides that of the posts."""
    clients = [
        server.client(max_connections=1),
        redis.Redis(connection_pool=pool(server, 1)),
        server.client(single_connection_client=True),
    ]
    for client, what in zip(clients, ("max_connections", "max_connections", "single_connection")):
        with pytest.raises(ValueError, match=rf"^client: .*{what}"):
            stdevents.Relay(bus, client, "stream")


def test_a_client_that_would_wait_for_ever_is_refused(bus, server):
    """Else a Redis whose machine lost its power leaves the host deaf, and nobody is told."""
    clients = [
        server.client(socket_timeout=None),
        redis.Redis(connection_pool=pool(server, 3, socket_timeout=None)),
    ]
    for client in clients:
        with pytest.raises(ValueError, match=r"^client: .*socket_timeout"):
            stdevents.Relay(bus, client, "stream")


def test_a_client_that_decodes_is_refused_however_it_was_told_to(bus, server):
    url = f"unix://{server.path}?socket_timeout={TIMEOUT}&decode_responses=True"
    clients = [
        redis.Redis.from_url(url),
        redis.Redis(connection_pool=pool(server, 3, decode_responses=True)),
    ]
    for client in clients:
        with pytest.raises(ValueError, match=r"^client: .*decode_responses"):
            stdevents.Relay(bus, client, "stream")


def test_a_client_that_caches_is_refused(bus):
    """Its blocking commands fail, so that events would come late; and what is new may be hidden."""
    cache = pytest.importorskip("redis.cache")
    options = {"socket_timeout": TIMEOUT, "protocol": 3, "cache_config": cache.CacheConfig()}
    client = redis.Redis(LOOPBACK, **options)
    with pytest.raises(ValueError, match="without cache and cache_config"):
        stdevents.Relay(bus, client, "stream")
