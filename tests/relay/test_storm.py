"""A storm: three hosts of three workers, while all that can happen to them and to Redis does.

Workers are killed and stopped, posters are killed, Redis is restarted and stands still, the way to
it is cut, whole hosts leave, or are killed, and come back. Beside them a short stream overtakes
hosts that stand still: what they were told is what they missed.

What each host was given is compared with the stream itself, entry for entry.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from collections import Counter

import pytest
import redis
from entries import entry_of
from hosts import Host
from inside import elect_for, reader_of, under_lock
from server import Gate
from test_workers import hasty  # noqa: F401  a fixture

import stdevents

NAME = "storm"
MOST_SECONDS = 7200  # of a long campaign
WORKERS = 3  # on each host
POSTERS = 3  # at a time; each is a host of its own
PAUSE = 0.015  # seconds between two posts of a poster, on average
LOOK = 256  # entries that a reader takes at once, at most
SHORT = 100  # entries that the short stream keeps, about
SOON = 0.3  # seconds for which a client of the storm waits for an answer
NOTICED = 2  # seconds after which a relay reaches Redis again, at the latest
END = ("end", None)


def settle(buses):
    """In a child: let go of what it has inherited."""
    signal.alarm(MOST_SECONDS)
    for bus in buses:
        bus.close()


def work(parent, buses, name, gate, stream):
    """A worker with a relay, until it is told to end; returns the entries that it was given.

    A listener: so what is `unique` runs in the process that counts, which nobody kills.
    """
    settle(buses)
    seen = []
    bus = stdevents.Bus(name, role="listener", size="4m")
    bus.register(lambda data, event, source, pid: seen.append(bus.origin().entry), "test")
    relay = stdevents.Relay(bus, gate.client(socket_timeout=SOON), stream, host=name)
    parent.tell(os.getpid())
    signal.alarm(MOST_SECONDS)  # who tells has less
    parent.hear()
    relay.close()
    bus.close()
    return seen


def post_all(parent, buses, name, server, stream, maxlen, count, pause, seed):
    """Post so many events, whatever becomes of Redis; tell of each that Redis has."""
    settle(buses)
    chance = random.Random(seed)
    bus = stdevents.Bus(name, interval=0)
    client = server.client(socket_timeout=SOON)
    relay = stdevents.Relay(bus, client, stream, maxlen=maxlen, buffer=count)
    for number in range(count):
        unique = f"{seed} {number}" if maxlen is None and chance.random() < 0.1 else None
        if relay.post("test", "event", [seed, number], unique=unique):
            parent.tell(number)
        time.sleep(2 * pause * chance.random())
    while relay.stats().buffered:
        time.sleep(0.01)
    relay.close()
    bus.close()


class Crew:
    """A host of the storm: its workers, its way to Redis, and what it was given in each life.

    A life is that of its bus. In this process there is a worker without a relay, which notes all.
    """

    def __init__(self, storm, name, stream, workers):
        self.name = name
        self.stream = stream
        self.lives = []  # of each what was seen, and how it ended
        self.workers = []
        self.stopped = None
        self.cut_until = 0  # on the clock
        self._storm = storm
        self._most = workers
        self.gate = Gate(storm.server)
        self.watching = None

    def arrive(self):
        """Be there: with all of its workers."""
        if self.watching is None:
            bus = stdevents.Bus(self.name, interval=0, size="4m", timeout=0.001)
            self.watching = Host(bus, None, relayed=False)
        while len(self.workers) < self._most:
            arguments = (self.name, self.gate, self.stream)
            self.workers.append(self._storm.fork(work, *arguments))
            self.workers[-1].hear()

    def reader(self):
        """The worker that reads the stream, or None."""
        pid = reader_of(self.watching.bus) if self.watching else 0
        return next((worker for worker in self.workers if worker.pid == pid), None)

    def stop_reader(self):
        """Have the reader stand still; not while it has the lock, which it would keep."""
        self.stopped = self.reader()
        if self.stopped:
            under_lock(self.watching.bus, self.stopped.stop)
        return self.stopped

    def go_on(self):
        """After that."""
        if self.stopped:
            self.stopped.go_on()
        self.stopped = None

    def mend(self):
        """After it was cut off."""
        self.gate.open()
        self.cut_until = time.monotonic()

    def leave(self, killed):
        """All of its workers end; then nobody has the bus open, and it is gone."""
        self.go_on()
        end = "killed" if killed else "left" if self._reaches() else "cut off"
        for worker in self.workers:
            if killed:
                worker.kill()
            else:
                worker.say()
        for worker in [] if killed else self.workers:
            self._storm.parts.append((self.stream, worker.result()))
        self.workers.clear()
        self.poll()
        seen = list(zip(self.watching.seen, self.watching.told))
        self.watching.close()
        self.watching = None
        self.lives.append((seen, end))

    def _reaches(self):
        """Can its workers tell Redis how far they are: for long enough to have noticed?"""
        return time.monotonic() > max(self.cut_until, self._storm.away_until) + NOTICED

    def poll(self):
        """Take what is on the bus."""
        if self.watching:
            self.watching.bus.poll()


class Storm:
    """What goes on, and what was counted."""

    def __init__(self, name, server, fork, campaign):
        self.server = server
        self.campaign = campaign
        self.random = campaign.random
        self.crews = []
        self.posters = {}  # by seed
        self.acknowledged = Counter()  # posts by seed
        self.ended = set()  # seeds of posters that have posted all
        self.away_until = 0  # on the clock
        self._name = name
        self._fork = fork
        self._seeds = 0
        self._due = []  # what is to be done later, and when
        self.parts = []  # what workers were given that have left, each in its order

    def fork(self, work, *arguments):
        buses = [crew.watching.bus for crew in self.crews if crew.watching]
        return self._fork(work, buses, *arguments)

    def later(self, seconds, what):
        """Have it done then."""
        self._due.append((time.monotonic() + seconds, what))

    def post(self, stream="stream", maxlen=None, count=None, pause=PAUSE):
        """Start one more poster."""
        self._seeds += 1
        name = self._name_of(self._seeds)
        arguments = (name, self.server, stream, maxlen, count or self.count, pause, self._seeds)
        self.posters[self._seeds] = self.fork(post_all, *arguments)
        return self._seeds

    def _name_of(self, seed):
        return f"{self._name}-poster-{seed}"

    def hear(self):
        """Note what posters tell, and who has ended."""
        for seed, poster in list(self.posters.items()):
            while poster.has_told():
                told = poster.hear()
                if told is None:
                    poster.wait()
                    self.ended.add(seed)
                    del self.posters[seed]
                    break
                self.acknowledged[seed] = told + 1

    def go_on(self, all_of_it=False):
        """Do what is due, and let everybody see what is new."""
        now = time.monotonic()
        due = [one for one in self._due if one[0] <= now or all_of_it]
        self._due = [one for one in self._due if one not in due]
        for _, what in due:
            what()
        for crew in self.crews:
            crew.poll()
        self.hear()
        done = sum(self.acknowledged.values())
        self.campaign.progress(NAME, done)

    # -- what happens ------------------------------------------------------------------------------

    def kill_reader(self, crew):
        victim = crew.reader()
        if victim and not crew.stopped:
            victim.kill()
            crew.workers.remove(victim)
            crew.arrive()
            return "readers killed"
        return None

    def stop_reader(self, crew):
        """For longer than its lease."""
        if not crew.watching or crew.stopped or not crew.stop_reader():
            return None
        self.later(self.lease * 1.5, crew.go_on)
        return "readers stopped"

    def cut(self, crew):
        if not crew.watching:
            return None
        crew.cut_until = math.inf
        crew.gate.shut()
        self.later(2 * SOON, crew.mend)
        return "cuts"

    def leave(self, crew, killed=False):
        if not crew.watching:
            return None
        crew.leave(killed)
        self.later(self.random.random(), crew.arrive)
        return "hosts killed" if killed else "hosts left"

    def kill_host(self, crew):
        return self.leave(crew, killed=True)

    def kill_poster(self, crew=None):
        for seed in [seed for seed in self.posters if seed not in self.kept][:1]:
            poster = self.posters.pop(seed)
            os.kill(poster.pid, signal.SIGKILL)
            for told in poster.hear_all():
                self.acknowledged[seed] = told + 1
            stdevents.Bus(self._name_of(seed), interval=0).close()  # else its files stay
        if crew:
            self.post()
        return "posters killed"

    def restart(self, crew):
        self.server.kill()
        self.server.start()
        self.away_until = time.monotonic()
        return "restarts of Redis"

    def freeze(self, crew):
        self.away_until = math.inf
        self.server.stop()
        self.later(2 * SOON, self.thaw)
        return "freezes of Redis"

    def thaw(self):
        self.server.go_on()
        self.away_until = time.monotonic()

    def put_foreign(self, crew):
        with self.server.client(socket_timeout=SOON) as client:
            try:
                client.xadd("stream", {"foreign": "entry"})
            except (redis.ConnectionError, redis.TimeoutError):
                return None
        return "foreign entries"

    KINDS = (
        kill_reader, stop_reader, cut, leave, kill_host, kill_poster, restart, freeze,
        put_foreign, put_foreign,
    )  # fmt: skip


@pytest.fixture
def storm(name, server, fork, campaign):
    storm = Storm(name, server, fork, campaign)
    yield storm
    server.go_on()
    for crew in storm.crews:
        crew.gate.remove()
        if crew.watching:
            crew.watching.close()


@pytest.mark.usefixtures("hasty")
def test_storm(storm, name, server, campaign, monkeypatch):
    """Lost, duplicated, reordered: nothing, on no host; and told is what was missed."""
    storm.lease = campaign.size(1, 3)
    elect_for(monkeypatch, storm.lease)
    storm.count = campaign.size(400, 20_000)
    for suffix in "abc":
        storm.crews.append(Crew(storm, f"{name}-{suffix}", "stream", WORKERS))
    for suffix in "xy":
        storm.crews.append(Crew(storm, f"{name}-{suffix}", "short", 1))
    for crew in storm.crews:
        crew.arrive()
    client = server.client()
    wait_for_groups(client, storm)
    storm.short = storm.post("short", SHORT, 3 * storm.count, PAUSE / 3)
    storm.kept = {storm.short, storm.post()}
    while len(storm.posters) < 1 + POSTERS:
        storm.post()
    blow(storm, campaign)
    calm(storm, client)
    check(storm, client, campaign)
    campaign.end(NAME, sum(storm.acknowledged.values()))


def wait_for_groups(client, storm):
    """Until each host has begun to read: what comes from now on, all of them have to be given."""
    for crew in storm.crews:
        client.xadd(crew.stream, entry_of("begin", crew.name))
        crew.watching.wait_for(lambda: ("begin", crew.name) in crew.watching.seen)  # noqa: B023


def blow(storm, campaign):
    """Have one thing after the other happen, until the posters that nobody kills have ended."""
    kinds, turn = list(storm.KINDS), 0
    overtaken, until = None, 0
    while not storm.kept <= storm.ended:
        if turn % len(kinds) == 0:
            campaign.random.shuffle(kinds)
        what = kinds[turn % len(kinds)](storm, campaign.random.choice(storm.crews[:3]))
        turn += 1
        campaign.count(what or "not possible just then")
        if overtaken and storm.acknowledged[storm.short] > until:
            overtaken.go_on()
            overtaken = None
        elif not overtaken:
            overtaken = campaign.random.choice(storm.crews[3:])
            until = storm.acknowledged[storm.short] + SHORT * campaign.random.randrange(1, 5)
            campaign.count("overtaken" if overtaken.stop_reader() else "not possible just then")
        end = time.monotonic() + campaign.random.random() / 2
        while time.monotonic() < end:
            storm.go_on()
            time.sleep(0.01)
    while storm.posters:
        storm.kill_poster()


def calm(storm, client):
    """Let all come back, and see the end of the streams."""
    storm.go_on(all_of_it=True)
    storm.server.go_on()
    for crew in storm.crews:
        crew.go_on()
        crew.arrive()
    for stream in ("stream", "short"):
        client.xadd(stream, entry_of(*END))
    for crew in storm.crews:
        crew.watching.wait_for(lambda: END in crew.watching.seen)  # noqa: B023
    for crew in storm.crews:
        crew.leave(killed=False)


def check(storm, client, campaign):
    """Compare what was posted, the stream, and what each host was given."""
    plain, unique, posted, order = [], set(), {}, {}
    for number, (entry, fields) in enumerate(client.xrange("stream")):
        order[entry.decode()] = number
        if b"event" not in fields:
            continue
        parts = json.loads(fields[b"event"])
        if parts[1] == "event":
            posted.setdefault(parts[2][0], []).append(parts[2][1])
        if len(parts) > 3:
            unique.add(entry.decode())
        else:
            plain.append(entry.decode())
    check_posts(storm, posted, campaign)
    place = {entry: number for number, entry in enumerate(plain)}
    ran = Counter()
    for crew in storm.crews[:3]:
        ran.update(check_lives(crew, place, unique, campaign))
    campaign.count("unique", len(unique))
    twice = ran - Counter(unique)
    if twice:
        print(f"unique, and ran twice: {twice}")
    campaign.count("duplicated", sum(twice.values()))
    # One that was taken by a host which was gone before it had it on its bus runs nowhere.
    for number in (order[entry] for entry in unique - set(ran)):
        is_gone = any(0 < number - end <= LOOK for end in ends_of_lives(storm, order))
        campaign.count("unique, gone with their host" if is_gone else "lost")
    for stream, entries in storm.parts:
        if stream == "stream":
            given = [place[entry] for entry in entries]
            campaign.count("reordered", given != list(range(len(plain)))[slice_of(given)])
    for crew in storm.crews[3:]:
        check_told(crew, 3 * storm.count, campaign)


def ends_of_lives(storm, order):
    """Where those lives ended that did not do so at peace."""
    for crew in storm.crews[:3]:
        for seen, end in crew.lives:
            entries = [origin.entry for (event, _), (_, origin) in seen if event != "lost"]
            if end != "left" and entries:
                yield max(map(order.get, entries))


def slice_of(given):
    return slice(given[0], given[-1] + 1) if given else slice(0)


def check_posts(storm, posted, campaign):
    """Of each poster: what it was told of is there, in its order, and nothing twice."""
    for seed, numbers in posted.items():
        expected = storm.count if seed in storm.ended else max(numbers) + 1
        campaign.count("duplicated", len(numbers) - len(set(numbers)))
        campaign.count("lost", expected - len(set(numbers)))
        campaign.count("lost", max(0, storm.acknowledged[seed] - expected))
        campaign.count("reordered", numbers != sorted(numbers))


def check_lives(crew, place, unique, campaign):
    """In each life all, from where the one before had ended; which of `unique` ran is returned."""
    came, ran, ended = 0, [], "left"
    for life, (seen, end) in enumerate(crew.lives):
        campaign.count("lost", sum(event == "lost" for (event, _), _ in seen))
        entries = [origin.entry for (event, _), (_, origin) in seen if event != "lost"]
        ran += [entry for entry in entries if entry in unique]
        given = [place[entry] for entry in entries if entry in place]
        campaign.count("delivered", len(entries))
        if not given:
            continue
        if ended != "left" and given[0] < came:
            # Redis is told a moment later how far a host has come, or not at all.
            campaign.count(f"once more after it was {ended}", came - given[0])
            came = given[0]
        distinct = set(given)
        campaign.count("duplicated", len(given) - len(distinct))
        again = sum(number < came for number in distinct)
        if again:  # seen where the test fails
            print(f"{crew.name}: {again} came again in life {life} of {len(crew.lives)}")
        campaign.count("duplicated", again)
        campaign.count("lost", len(set(range(came, max(given) + 1)) - distinct))
        campaign.count("reordered", given != sorted(given))
        came, ended = max(came, max(given) + 1), end
    campaign.count("lost", len(place) - came)
    return ran


def check_told(crew, count, campaign):
    """Of a stream that is trimmed: what was missed was told, exactly."""
    ((seen, _),) = crew.lives
    numbers = [data[1] for (event, data), _ in seen if event == "event"]
    counts = [data["count"] for (event, data), _ in seen if event == "lost"]
    campaign.count("reordered", numbers != sorted(set(numbers)))
    campaign.count("missed", count - len(numbers))
    if None in counts:
        campaign.count("unexpected")
    else:
        campaign.count("told", sum(counts))
        campaign.count("unexpected", sum(counts) != count - len(numbers))
