"""Redis that cannot be reached any more, and no connection ends by that: cut off, or frozen."""

from __future__ import annotations

import json
import os

import pytest
from children import SECONDS
from entries import entry_of
from hosts import Host
from inside import is_away, name_of, place_in_stream, reader_of
from programs import start
from server import Gate, Server
from test_namespaces import ADDRESSES, PORT, ip, namespaces  # noqa: F401  a fixture
from test_workers import hasty  # noqa: F401  a fixture

import stdevents

SOON = 0.3  # seconds for which a client waits for an answer


@pytest.fixture
def gate(server):
    gate = Gate(server)
    yield gate
    gate.remove()


@pytest.mark.parametrize("how", ["cut", "frozen"])
def test_a_host_that_is_cut_off_says_so_and_goes_on_with_what_is_local(host, server, gate, how):
    """It does not say that it reads; and it does so again when it can."""
    a, b = host("a", client=gate.client(socket_timeout=SOON)), host("b", buffer=10)
    a.wait_for(lambda: a.relay.stats().reading)
    b.relay.post("test", "event", 0)
    a.until(("event", 0))
    cut, mend = (gate.shut, gate.open) if how == "cut" else (server.stop, server.go_on)
    cut()
    try:
        if how == "cut":
            b.relay.post("test", "event", 1)
        a.wait_for(lambda: not a.relay.stats().reading)
        for number in range(100):
            a.bus.post("test", "local", number)
        a.until(("event", 0), *(("local", number) for number in range(100)))
        assert a.relay.stats().away_since is not None
        with pytest.raises(stdevents.RelayError):
            a.relay.post("test", "event", -1)
    finally:
        mend()
    if how == "frozen":
        b.relay.post("test", "event", 1)
    a.wait_for(lambda: ("event", 1) in a.seen)
    a.wait_for(lambda: a.relay.stats().reading)
    a.wait_for(lambda: a.relay.stats().away_since is None)
    # A post that was told to have failed may have come through later; once.
    b.relay.post("test", "event", 2)
    a.wait_for(lambda: ("event", 2) in a.seen)
    seen = [data for event, data in a.seen if event == "event" and data != -1]
    assert seen == [0, 1, 2]
    assert a.seen.count(("event", -1)) <= 1


def work_here(parent, bus, client):
    """A worker with a relay over this client, until it is told to end."""
    bus.close()
    relayed = Host(stdevents.Bus(name_of(bus), interval=0), client)
    parent.tell(os.getpid())
    parent.hear()
    relayed.close()


@pytest.mark.usefixtures("hasty")
def test_a_reader_that_is_cut_off_is_replaced_by_one_that_is_not(host, server, gate, fork, client):
    """Of two workers of a host, it alone does not reach Redis."""
    watching = host(relayed=False)
    first = fork(work_here, watching.bus, gate.client(socket_timeout=SOON))
    first.hear()
    watching.wait_for(lambda: place_in_stream(watching.bus))
    watching.wait_for(lambda: reader_of(watching.bus) == first.pid)
    second = fork(work_here, watching.bus, server.client(socket_timeout=SOON))
    second.hear()
    gate.shut()
    client.xadd("stream", entry_of("event", 1))
    watching.wait_for(lambda: ("event", 1) in watching.seen)
    assert reader_of(watching.bus) == second.pid
    gate.open()
    client.xadd("stream", entry_of("event", 2))
    watching.wait_for(lambda: ("event", 2) in watching.seen)
    assert len(watching.seen) == len(set(watching.seen))


@pytest.mark.parametrize("how", ["cut", "frozen"])
def test_a_fork_does_not_wait_for_a_redis_that_does_not_answer(host, server, gate, fork, how):
    """The thread of the relay is in a call that takes as long as its client allows: very long."""
    a = host("a", client=gate.client(socket_timeout=SECONDS))
    a.wait_for(lambda: a.relay.stats().reading)
    cut, mend = (gate.shut, gate.open) if how == "cut" else (server.stop, server.go_on)
    cut()
    try:
        for number in range(3):
            child = fork(lambda parent: a.bus.post("test", "local", number))  # noqa: B023
            child.result()
        a.until(*(("local", number) for number in range(3)))
    finally:
        mend()
    host("b").relay.post("test", "event", 1)
    a.wait_for(lambda: ("event", 1) in a.seen)


def test_it_is_told_once_that_it_is_cut_off_and_once_that_it_is_not(host, gate, caplog):
    a = host("a", client=gate.client(socket_timeout=SOON))
    a.wait_for(lambda: a.relay.stats().reading)
    for _ in range(2):
        caplog.clear()
        gate.shut()
        a.wait_for(lambda: is_away(a.relay))
        gate.open()
        a.wait_for(lambda: not is_away(a.relay) and len(caplog.messages) > 1)
        away, back = caplog.messages
        assert "will be tried again" in away
        assert "is reached" in back


PROGRAM = """
import json, sys, redis, stdevents
from redis.backoff import NoBackoff
from redis.retry import Retry
name, address = sys.argv[1:]
bus = stdevents.configure(name)
seen = []
bus.register(lambda data, event, source, pid: seen.append(data), "test")
client = redis.Redis(host=address, port=6379, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))
relay = stdevents.Relay(bus, client, "stream", buffer=100)
print("ready", flush=True)
for line in sys.stdin:
    what, number = line.split()
    if what == "post":
        relay.post("test", "event", int(number))
    elif what == "local":
        bus.post("test", "event", int(number))
    print(json.dumps([seen, relay.stats().reading]), flush=True)
relay.close()
bus.close()
client.close()
"""


def ask(program, what, number=0):
    """Have a program do that; returns what it has seen, and whether it reads."""
    program.stdin.write(f"{what} {number}\n")
    program.stdin.flush()
    return json.loads(program.stdout.readline())


def ask_until(program, condition):
    """Until what it has seen, and whether it reads, are so."""
    while not condition(*ask(program, "look")):
        pass


def test_a_host_whose_network_is_down_reads_on_when_it_is_up(namespaces, name, watchdog):  # noqa: F811
    """Its interface has no carrier: no connection ends, and no packet comes."""
    inside = {host: ("ip", "netns", "exec", space) for host, space in namespaces.items()}
    server = Server(ADDRESSES["a"], PORT, inside["a"], **{"protected-mode": "no"})
    programs = {}
    try:
        for one in ADDRESSES:
            programs[one] = start(PROGRAM, f"{name}-{one}", ADDRESSES["a"], before=inside[one])
            assert programs[one].stdout.readline() == "ready\n"
        near, far = programs["a"], programs["b"]
        ask_until(far, lambda seen, reading: reading)
        ask(near, "post", 1)
        ask_until(far, lambda seen, reading: seen == [1])
        (link,) = links_of(namespaces["a"])
        ip("-n", namespaces["a"], "link", "set", link, "down")
        ask(near, "post", 2)
        ask_until(far, lambda seen, reading: not reading)
        ask(far, "local", 3)
        ask(far, "post", 4)
        ask_until(far, lambda seen, reading: seen == [1, 3])
        ip("-n", namespaces["a"], "link", "set", link, "up")
        ask_until(far, lambda seen, reading: reading and seen == [1, 3, 2, 4])
        ask_until(near, lambda seen, reading: seen == [1, 2, 4])
        for program in programs.values():
            _, err = program.communicate(timeout=SECONDS)
            assert program.returncode == 0, err
    finally:
        for program in programs.values():
            program.kill()
            program.communicate()
        server.remove()


def links_of(space):
    """The interfaces of a namespace that lead out of it."""
    names = json.loads(ip("-n", space, "-json", "link"))
    return [one["ifname"] for one in names if one["ifname"].startswith("sde")]
