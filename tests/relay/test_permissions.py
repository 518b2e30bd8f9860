"""What the user of Redis must be allowed, as docs/relay.md says it: all of it, and nothing more."""

from __future__ import annotations

import re

import pytest
from entries import entry_of, only
from exchange import exchange
from page import TEXT, needs_page

import stdevents


def rules_of_page():
    """The rules of its user, for a stream that is called "stream"."""
    lines = re.findall(r"^ACL SETUSER relay on >secret (.*?)^```$", TEXT, re.M | re.S)
    return "".join(lines).replace("my-app", "stream").split()


RULES = rules_of_page()
REFUSED = "permission|can't run this command"  # within a script, as of Redis 7.0
COMMANDS = [rule for rule in RULES if rule.startswith("+")]


@needs_page
@pytest.mark.parametrize("protocol", [2, 3])
def test_with_the_permissions_of_the_page_all_works(host, server, caplog, protocol):
    """From the beginning: nobody else has made a script, or a key."""
    options = {"protocol": protocol}
    a, b = (host(one, client=server.user(one, *RULES, **options)) for one in "ab")
    exchange(a, b)
    a.relay.close()
    exchange(b, b, first=100)
    a.relay = stdevents.Relay(a.bus, server.user("a", *RULES, **options), "stream")
    b.relay.post("test", "last")
    a.wait_for(lambda: ("last", None) in a.seen)
    assert not re.search(REFUSED, caplog.text)
    assert "tried again" not in caplog.text


@needs_page
def test_with_the_permissions_of_the_page_losses_are_told(host, server, client):
    """Also by who comes back, after the stream was trimmed."""
    a = host("a", client=server.user("a", *RULES))
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    a.relay.close()
    for number in range(2, 6):
        client.xadd("stream", entry_of("event", number))
    client.xtrim("stream", 1, approximate=False)
    a.relay = stdevents.Relay(a.bus, server.user("a", *RULES), "stream")
    a.wait_for(lambda: ("event", 5) in a.seen)
    (told,) = [data["count"] for event, data in a.seen if event == "lost"]
    assert told == 3


@needs_page
@pytest.mark.parametrize("command", COMMANDS)
def test_without_one_of_the_permissions_something_says_so(host, server, client, caplog, command):
    rules = [rule for rule in RULES if rule != command]
    a = host("a", client=server.user("a", *rules))
    errors = []

    def told():
        return any(re.search(REFUSED, error) for error in (caplog.text, *errors))

    for unique in (None, "key"):
        client.xadd("stream", entry_of("event", 1, unique=unique))
        try:
            a.relay.post("test", "event", 2, unique=unique)
        except stdevents.RelayError as error:
            errors.append(str(error))
    a.wait_for(told)


def test_who_may_not_post_is_told_so_and_still_reads(host, server):
    """A refusal is not an absence: it holds up nothing."""
    a, b = host("a", client=server.user("a", "+@all", "-xadd", "~*")), host("b")
    for number in range(3):
        with pytest.raises(stdevents.RelayError, match=REFUSED):
            a.relay.post("test", "event", -1)
        b.relay.post("test", "event", number)
        b.relay.post("test", "one", number, unique=f"key {number}")
    a.wait_for(lambda: len([seen for seen in a.seen if seen[0] == "event"]) == 3)
    b.wait_for(lambda: len([seen for seen in b.seen if seen[0] == "event"]) == 3)
    assert [seen for seen in a.seen if seen[0] == "event"] == only(range(3))


def test_who_may_only_post_does_so(host, server, caplog):
    rules = ["+evalsha", "+script|load", "+xadd", "+get", "+set", "~stream", "~{stream}:*"]
    a, b = host("a", client=server.user("a", *rules), buffer=10), host("b")
    for number in range(3):
        assert a.relay.post("test", "event", number) is not None
    b.until(*only(range(3)))
    a.wait_for(lambda: re.search(REFUSED, caplog.text))


def test_a_redis_without_memory_refuses_posts_and_is_read_on(host, client):
    a, b = host("a"), host("b", buffer=10)
    a.relay.post("test", "event", 1)
    for one in (a, b):
        one.until(("event", 1))
    client.config_set("maxmemory", 1)
    for one in (a, b):
        with pytest.raises(stdevents.RelayError, match="memory"):
            one.relay.post("test", "event", 2)
    client.config_set("maxmemory", 0)
    a.relay.post("test", "event", 3)
    for one in (a, b):
        one.until(*only((1, 3)))


def test_a_buffered_post_that_is_refused_is_let_go_and_counted(host, server, client, caplog):
    """What comes behind it is posted, and the process reads on."""
    a, b = host("a", buffer=10), host("b")
    a.relay.post("test", "event", 0)
    for one in (a, b):
        one.until(("event", 0))
    server.kill()
    for number in (1, 2, 3):
        assert a.relay.post("test", "event", number) is None
    server.start(maxmemory="1")
    a.wait_for(lambda: a.relay.stats().buffered == 0)
    assert a.relay.stats().refused == 3
    assert "memory" in caplog.text
    client.config_set("maxmemory", 0)
    a.relay.post("test", "event", 4)
    b.relay.post("test", "event", 5)
    for one in (a, b):
        one.until(*only((0, 4, 5)))


def test_one_refused_post_in_a_buffer_does_not_take_others_with_it(host, server, client):
    """As when an operator allows it again while the buffer is being sent."""
    a, b = host("a", client=server.user("a", "+@all", "~*"), buffer=10), host("b")
    a.relay.post("test", "event", 0)
    for one in (a, b):
        one.until(("event", 0))
    server.kill()
    for number in (1, 2, 3):
        a.relay.post("test", "event", number)
    server.start()
    server.user("a", "+@all", "~*")  # it has forgotten who may do what
    for one in (a, b):
        one.wait_for(lambda: ("event", 3) in one.seen or a.relay.stats().refused == 3)  # noqa: B023
    seen = [data for event, data in b.seen if event == "event"]
    assert len(seen) + a.relay.stats().refused == 4
    assert seen == sorted(seen)
