"""Redis over TLS, where both show a certificate."""

from __future__ import annotations

import pytest
from entries import only
from exchange import exchange
from server import LOOPBACK, Certificate, Server

import stdevents


@pytest.fixture
def certificate(tmp_path):
    return Certificate(tmp_path)


@pytest.fixture
def server(certificate):
    server = Server(LOOPBACK, tls=certificate)
    yield server
    server.remove()


def test_events_come_over_tls(host):
    exchange(host("a"), host("b"))


def test_a_restart_over_tls_loses_nothing(host, server):
    a, b = host("a", buffer=100), host("b")
    for number in range(60):
        if number in (20, 40):
            server.kill()
            a.relay.post("test", "event", number)
            server.start()
        else:
            a.relay.post("test", "event", number)
    for one in (a, b):
        one.until(*only(range(60)))


def test_a_client_that_shows_no_certificate_is_told_of(host, server, certificate, caplog):
    """As one whose server is not who it trusts: it does not go on in the open."""
    options = dict.fromkeys(certificate.of_client, None)
    a = host("a", client=server.client(**{**options, **certificate.of_stranger}))
    with pytest.raises(stdevents.RelayError):
        a.relay.post("test", "event", 1)
    a.wait_for(lambda: "it will be tried again" in caplog.text)
    a.wait_for(lambda: not a.relay.stats().reading)
