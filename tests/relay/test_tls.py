"""Redis over TLS, where both show a certificate; the client of docs/relay.md."""

from __future__ import annotations

import pytest
from entries import only
from exchange import exchange
from page import client_of, needs_page
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


@needs_page
def test_the_client_of_the_page_shows_its_certificate(host, server, certificate):
    files = {
        option: (f'{option}="{name}"', f"{option}={certificate.of_client[option]!r}")
        for option, name in (
            ("ssl_ca_certs", "ca.pem"),
            ("ssl_certfile", "host.pem"),
            ("ssl_keyfile", "host.key"),
        )
    }
    address = '"10.0.0.1", 6380', f"{server.address!r}, {server.port}"
    with client_of("tls.py", address=address, **files) as client:
        exchange(*(host(suffix, client=client) for suffix in "ab"), 3)


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
