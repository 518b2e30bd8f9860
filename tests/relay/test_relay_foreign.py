"""What is on the stream and is not ours."""

from __future__ import annotations

import pytest
from entries import entry_of
from inside import (
    place_in_stream,
)

import stdevents

FOREIGN = {
    "other fields": {"temperature": "19.5"},
    "one field more": entry_of("event", 1, more=1),
    "another version": entry_of("event", 1, v=2),
    "no JSON": entry_of("event", 1, event="secret"),
    "JSON and more": entry_of("event", 1, event='["a", "b", 1] secret'),
    "no list": entry_of("event", 1, event='{"secret": 1}'),
    "a short list": entry_of("event", 1, event='["secret", "b"]'),
    "a long list": entry_of("event", 1, event='["a", "b", 1, "k", "secret"]'),
    "no names": entry_of("event", 1, event='[1, ["secret"], 1]'),
    "an empty name": entry_of("event", 1, event='["", "b", "secret"]'),
    "no key": entry_of("event", 1, event='["a", "b", "secret", ["k"]]'),
    "not a number": entry_of("event", 1, event='["a", "secret", NaN]'),
    "too deep": entry_of("event", 1, event='["a", "b", ' + 300 * "[" + 300 * "]" + "]"),
    "far too deep": entry_of("event", 1, event=100_000 * "["),
    "half a character": entry_of("event", 1, event='["a", "secret", "\\ud800"]'),
    "no text": entry_of("event", 1, event=b'["a", "secret", "\xff"]'),
    "a pid that is none": entry_of("event", 1, pid="secret"),
    "pid 0": entry_of("event", 1, pid=0),
    "a huge pid": entry_of("event", 1, pid=1 << 70),
    "a host that is no text": entry_of("event", 1, host=b"\xff"),
    "no host": entry_of("event", 1, host=""),
    "a long host": entry_of("event", 1, host="x" * 256),
    "a host of two lines": entry_of("event", 1, host="secret\nb"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_an_entry_that_is_not_ours_is_skipped_counted_and_logged(host, client, caplog, what):
    """Without a word of what is in it."""
    a = host("a")
    entry = client.xadd("stream", FOREIGN[what]).decode()
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    assert a.relay.stats().skipped == 1
    assert f"entry {entry} of stream 'stream' is not an event of a relay" in caplog.text
    assert "secret" not in caplog.text


def test_many_entries_that_are_not_ours_are_few_lines_in_the_log(host, client, caplog):
    a = host("a")
    pipeline = client.pipeline()
    for number in range(1000):
        pipeline.xadd("stream", {"number": number})
    pipeline.execute()
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    assert a.relay.stats().skipped == 1000
    assert 10 < len(caplog.records) < 20


def test_entries_that_are_not_ours_are_passed_by_without_an_event(host, client):
    """The bus is past them all the same: the next reader does not look at them again."""
    a = host("a")
    entry = client.xadd("stream", {"number": 1}).decode()
    a.wait_for(lambda: str(place_in_stream(a.bus)) == entry)
    assert a.relay.stats().skipped == 1
    a.relay.close()
    a.relay = stdevents.Relay(a.bus, client, "stream")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    assert a.relay.stats().skipped == 0


def test_a_key_that_is_no_stream_is_told(name, client, caplog):
    client.set("stream", "a string")
    with stdevents_bus(name) as bus:
        relay = stdevents.Relay(bus, client, "stream")
        with pytest.raises(stdevents.RelayError, match="WRONGTYPE"):
            relay.post("test", "event")
        relay.close()
    assert "WRONGTYPE" in caplog.text


class stdevents_bus:
    """A bus for a `with`."""

    def __init__(self, name, **options):
        self.bus = stdevents.Bus(name, interval=0, **options)

    def __enter__(self):
        return self.bus

    def __exit__(self, *_):
        self.bus.close()


def test_an_entry_with_a_field_twice_is_the_same_at_each_look(host, client):
    """A client's dict has the last one only; to a script it has both."""
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    fields = ["v", 1, "host", "by hand", "pid", 7, "event", '["test", "event", 0]']
    client.execute_command("XADD", "stream", "*", *fields, "event", '["test", "event", 1]')
    a.until(("event", 1))
    a.relay.close()
    a.relay = stdevents.Relay(a.bus, client, "stream")
    a.relay.post("test", "event", 2)
    a.until(("event", 1), ("event", 2))
    assert a.relay.stats().gaps == 0
