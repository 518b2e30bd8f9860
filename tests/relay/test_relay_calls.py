"""The calls of a relay, what they refuse, and what commands say of it."""

from __future__ import annotations

import enum
import logging
import pickle

import pytest
from entries import only
from hosts import Host
from inside import (
    RELAY_CELLS,
    RELAY_WORDS,
    Memory,
    Position,
    Stream,
    faults_of,
    place_in_stream,
    records_from,
)
from test_seen import run_module

import stdevents

# -- the command line ------------------------------------------------------------------------------


def test_check_finds_no_fault_in_what_was_relayed(host, name):
    a = host("a")
    for number in range(5):
        a.relay.post("test", "event", number)
        a.relay.post("test", "one", number, unique=number)
    a.wait_for(lambda: len(a.seen) == 10)
    assert faults_of(f"{name}a") == []


@pytest.mark.parametrize(
    "word, value, fault",
    [
        (RELAY_CELLS[0], 1 << 40, "cell 48 is of event 1099511627776"),
        (RELAY_CELLS[1], 1 << 40, "cell 52 is of event 1099511627776"),
    ],
)
def test_check_finds_a_place_of_an_event_that_is_not_there(host, name, word, value, fault):
    a = host("a")
    a.relay.close()  # else it begins again where it finds no place
    Memory(a.bus).words[word] = value
    assert any(fault in one for one in faults_of(f"{name}a"))


@pytest.mark.parametrize("value", [1 << 30, (1 << 64) - 1])
def test_a_damaged_word_about_the_reader_keeps_nobody_from_reading(host, name, client, value):
    """Nor from looking: a status is shown, with what can be known."""
    a = host("a")
    a.relay.close()
    words = Memory(a.bus).words
    for word in RELAY_WORDS:
        words[word] = value
    assert f"bus {name}a" in run_module("status", f"{name}a")
    a.join(client)
    a.relay.post("test", "event", 1)
    a.until(("event", 1))


def test_tail_says_where_an_event_comes_from(host):
    a = host("a")
    plain = a.relay.post("test", "event", 1)
    one = a.relay.post("test", "one", 2, unique="key")
    a.until(("event", 1), ("one", 2))
    lines = [
        {key: value for key, value in line.items() if key not in ("id", "pid", "source")}
        for line in records_from(a.bus, 0)
    ]
    origin = {"host": "host a"}
    assert {"event": "event", "data": 1, "entry": plain, **origin} in lines
    assert {"event": "one", "data": 2, "unique": "key", "entry": one, **origin} in lines


# -- the calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (("", "event"), ValueError, "source"),
        ((1, "event"), TypeError, "source"),
        (("test", None), TypeError, "event"),
        (("test", "event", {1, 2}), stdevents.EncodeError, "set"),
        (("test", "event", float("nan")), stdevents.EncodeError, "nan"),
        (("test", "event", None, 1.5), TypeError, "unique"),
        (("test", "event", "x" * 5000), stdevents.PayloadTooLarge, "4096"),
        (("test", "event", "x" * 4060), stdevents.PayloadTooLarge, "4096"),
    ],
)
def test_a_post_that_cannot_be_is_refused_before_redis_sees_it(
    host, client, arguments, error, words
):
    a = host("a", size=4096)
    with pytest.raises(error, match=words):
        a.relay.post(*arguments)
    assert client.xlen("stream") == 0


@pytest.mark.parametrize(
    "options, error",
    [
        ({"stream": 1}, TypeError),
        ({"stream": ""}, ValueError),
        ({"stream": "x" * 256}, ValueError),
        ({"stream": "a{b"}, ValueError),
        ({"stream": "{}a"}, ValueError),
        ({"stream": "a}b"}, ValueError),
        ({"stream": "\ud800"}, ValueError),
        ({"host": b"a"}, TypeError),
        ({"host": "a\nb"}, ValueError),
        ({"host": ""}, ValueError),
        ({"maxlen": 0}, ValueError),
        ({"maxlen": 1 << 63}, ValueError),
        ({"maxlen": "1k"}, TypeError),
        ({"maxlen": True}, TypeError),
        ({"buffer": -1}, ValueError),
        ({"buffer": None}, TypeError),
        ({"start": None}, TypeError),
        ({"start": "newest"}, ValueError),
        ({"start": "1-x"}, ValueError),
        ({"start": "-1-1"}, ValueError),
        ({"start": f"{1 << 64}-0"}, ValueError),
        ({"client": None}, TypeError),
        ({"bus": "a-name"}, TypeError),
    ],
)
def test_a_bad_option_is_named(bus, client, options, error):
    (option,) = options
    given = {"bus": bus, "client": client, "stream": "stream", **options}
    with pytest.raises(error, match=f"^{option}: "):
        stdevents.Relay(**given)


def test_names_of_an_enum_are_the_texts_of_its_members(bus, client, name):
    """`str` of a member is its name, as which the host's place would be kept."""
    texts = {"stream": "stream", "host": "host", "start": "oldest"}
    host = Host(bus, client, **{one.name: one for one in enum.Enum("Texts", texts, type=str)})
    host.relay.post("test", "event", 1)
    host.until(("event", 1))
    host.close()
    assert [group["name"] for group in client.xinfo_groups("stream")] == [f"host/{name}".encode()]
    assert str(host.relay.stats().stream) == "stream"


def test_a_client_that_cannot_be_used_is_refused(bus, server):
    asynchronous = pytest.importorskip("redis.asyncio").Redis(unix_socket_path=server.path)
    with pytest.raises(TypeError, match="asynchronous"):
        stdevents.Relay(bus, asynchronous, "stream")
    with pytest.raises(ValueError, match="decode_responses"):
        stdevents.Relay(bus, server.client(decode_responses=True), "stream")
    client = server.client()
    for one in (None, type(client), client.pipeline(), client.pubsub()):
        with pytest.raises(TypeError, match="is not a client like redis.Redis"):
            stdevents.Relay(bus, one, "stream")


@pytest.mark.parametrize("protocol", [2, 3])
def test_either_protocol_of_redis_will_do(host, server, protocol):
    a = host("a", client=server.client(protocol=protocol))
    a.relay.post("test", "one", 1, unique="key")
    a.until(("one", 1))
    a.relay.post("test", "event", 2)
    a.until(("one", 1), ("event", 2))


def test_a_wait_may_be_longer_than_what_the_client_waits_for_an_answer(server):
    """Else a quiet stream would be taken for a lost connection."""
    waiting = Stream(server.client(socket_timeout=0.1), "stream")
    while waiting.wait(Position(0, 0), 60) is None:
        pass
    waiting.leave()


def test_the_bus_has_to_be_open(client, name):
    bus = stdevents.Bus()
    with pytest.raises(stdevents.NotConfigured):
        stdevents.Relay(bus, client, "stream")
    bus.configure(name, interval=0)
    relay = stdevents.Relay(bus, client, "stream")
    bus.close()
    with pytest.raises(stdevents.NotConfigured):
        relay.post("test", "event")
    relay.close()


def test_a_relay_cannot_be_pickled(name, client):
    """Also where the bus can be, as the package's: whoever passes it on is told what to do."""
    with stdevents.configure(name, interval=0) as bus:
        relay = stdevents.Relay(bus, client, "stream")
        with pytest.raises(TypeError, match="^<Relay .* make one in the other process"):
            pickle.dumps(relay)
        relay.close()


def test_a_closed_relay_says_so(host):
    a = host("a")
    a.relay.close()
    a.relay.close()
    with pytest.raises(stdevents.NotConfigured, match="relay is closed"):
        a.relay.post("test", "event")
    assert not a.relay.stats().reading


def test_a_bus_that_is_opened_anew_is_relayed_to_again(host, name):
    a, b = host("a"), host("b")
    a.bus.close()
    a.bus.configure(f"{name}a", interval=0)
    a.wait_for(lambda: place_in_stream(a.bus))
    b.relay.post("test", "event", 1)
    a.until(("event", 1))


def test_the_stream_is_kept_to_about_maxlen(host, client):
    a = host("a", maxlen=100)
    for number in range(1000):
        a.relay.post("test", "event", number)
    assert 100 <= client.xlen("stream") <= 300
    b = host("b", maxlen=None)
    for number in range(500):
        b.relay.post("test", "event", number)
    assert client.xlen("stream") >= 600


def test_the_error_of_redis_is_the_cause_and_survives_pickling(host, server):
    a = host("a")
    server.kill()
    with pytest.raises(stdevents.RelayError, match="ConnectionError") as caught:
        a.relay.post("test", "event")
    assert isinstance(caught.value, ConnectionError)
    assert type(caught.value.__cause__).__module__.startswith("redis")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_what_it_counts(host):
    a, b = host("a"), host("b")
    for number in range(5):
        a.relay.post("test", "event", number)
    for one in (a, b):
        one.until(*only(range(5)))
        one.wait_for(lambda: one.relay.stats().relayed == 5)  # noqa: B023  counted afterwards
        assert one.relay.stats().reading
        assert repr(one.relay).startswith("<Relay of <Bus 'test-")
    assert (a.relay.stats().posted, b.relay.stats().posted) == (5, 0)


def test_it_logs_little(host, caplog):
    """At INFO who reads; nothing of each event."""
    caplog.set_level(logging.INFO)
    a = host("a")
    for number in range(5):
        a.relay.post("test", "event", number)
    a.until(*only(range(5)))
    assert len(caplog.records) == 1
