"""Two hosts in network namespaces of their own, each with an address, as real ones have."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess

import pytest
from programs import start
from server import Server, require

ADDRESSES = {"a": "10.213.7.1", "b": "10.213.7.2"}
PORT = 6379

PROGRAM = """
import json, sys, select, redis, stdevents
name, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
bus = stdevents.Bus(name, interval=0)
seen = []
bus.register(lambda data, event, source, pid: seen.append([data, *bus.origin()]), "test")
client = redis.Redis(host=address, port=6379, socket_timeout=5)
relay = stdevents.Relay(bus, client, "stream", host=name[-1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    relay.post("test", "event", number)
while len(seen) < 2 * count:
    select.select([bus.fileno()], [], [], 1)
    bus.poll()
relay.close()
bus.close()
client.close()
print(json.dumps(seen))
"""


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def namespaces():
    """Two of them, joined by a pair of virtual interfaces; skipped where that is not allowed."""
    require("ip")
    names = {host: f"stdevents-{os.getpid()}-{host}" for host in ADDRESSES}
    links = {host: f"sde{host}{os.getpid() % 10**8}" for host in ADDRESSES}
    with contextlib.ExitStack() as undo:
        try:
            for name in names.values():
                ip("netns", "add", name)
                undo.callback(ip, "netns", "del", name)
            ip("link", "add", links["a"], "type", "veth", "peer", "name", links["b"])
            for host, name in names.items():
                ip("link", "set", links[host], "netns", name)
                ip("-n", name, "addr", "add", f"{ADDRESSES[host]}/24", "dev", links[host])
                ip("-n", name, "link", "set", links[host], "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', error)}")
        yield names


def test_hosts_with_an_address_each_see_the_same(namespaces, name):
    """Redis is in one of them, and reached from the other over the network between."""
    inside = {host: ("ip", "netns", "exec", space) for host, space in namespaces.items()}
    server = Server(ADDRESSES["a"], PORT, inside["a"], **{"protected-mode": "no"})
    count = 100
    hosts = {}
    try:
        for host in ADDRESSES:
            arguments = (f"{name}-{host}", ADDRESSES["a"], count)
            hosts[host] = start(PROGRAM, *arguments, before=inside[host])
        for program in hosts.values():
            assert program.stdout.readline() == "ready\n"
        for program in hosts.values():
            program.stdin.write("go on\n")
            program.stdin.flush()
        told = {}
        for host, program in hosts.items():
            out, err = program.communicate(timeout=60)
            assert (program.returncode, err) == (0, "")
            told[host] = json.loads(out)
    finally:
        for program in hosts.values():
            program.kill()
            program.wait()
        server.remove()
    assert told["a"] == told["b"]
    for host in ADDRESSES:
        assert [data for data, origin, _ in told["a"] if origin == host] == list(range(count))
