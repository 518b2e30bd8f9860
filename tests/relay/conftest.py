"""What the tests of the relay share: a Redis of their own, and hosts, each of them a bus.

They need redis-py, and a redis-server on the PATH, or what STDEVENTS_REDIS_SERVER names; without
the first they are not collected.
"""

from __future__ import annotations

import importlib.util

import pytest

import stdevents

if importlib.util.find_spec("redis") is None:
    collect_ignore_glob = ["*.py"]
else:
    from hosts import Host
    from server import Server

from tests.campaigns.conftest import campaign, pytest_configure, pytest_terminal_summary

__all__ = ["campaign", "pytest_configure", "pytest_terminal_summary"]


@pytest.fixture
def server(request):
    """A Redis of the test's own, which keeps what it is told when it is killed.

    By a parameter, at an address; else on a socket in the file system.
    """
    server = Server(getattr(request, "param", None))
    yield server
    server.remove()


@pytest.fixture
def client(server):
    """A client that gives up at once."""
    return server.client()


@pytest.fixture
def host(name, server):
    """`host("a")` is one more host of the stream, in this process, polled by hand."""
    hosts = []

    def host(suffix="", **options):
        bus_options = {option: options.pop(option) for option in Host.OPTIONS & set(options)}
        bus = stdevents.Bus(f"{name}{suffix}", interval=0, **bus_options)
        hosts.append(bus)
        client = options.pop("client", None) or server.client()
        host = Host(bus, client, host=f"host {suffix}", **options)
        hosts[-1] = host
        return host

    yield host
    for each in hosts:
        each.close()
