"""A signal handler and finalisers that post, whatever their own thread is in the middle of.

Another process posts as well, so that the lock is often to be waited for.
"""

from __future__ import annotations

import json

from programs import run

NAME = "posts of signal handlers and finalisers"
AT_ONCE = 2_000  # signals in one program

PROGRAM = """
import gc, itertools, json, os, random, signal, sys
import stdevents

name, seed, signals = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
bus = stdevents.Bus(name, size="16m", interval=0, wait_max=20)
posted, seen, finalisers = {}, [], itertools.count()

def post(kind, number, unique=None):
    data = [kind, number, "x" * (number % 97)]
    posted[bus.post("test", kind, data, unique)] = data

class Dying:
    def __init__(self):
        self.me = self  # for the collector
    def __del__(self):
        post("finaliser", next(finalisers))

count = 0
def handle(signal_number, frame):
    global count
    count += 1
    post("signal", count)

other = os.fork()
if not other:
    signal.alarm(50)
    while True:
        bus.post("other", "event")
        bus.poll()
getattr(gc, "set_threshold", int)(50)  # often
bus.register(lambda data, event, source, pid: seen.append(data), "test")
signal.signal(signal.SIGALRM, handle)
plain = 0
while count < signals:
    Dying()
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 1e-4))
    post("plain", plain)
    post("unique", plain, unique=plain)
    plain += 1
    if plain % 20 == 0:
        bus.poll()
        bus.workers()
signal.setitimer(signal.ITIMER_REAL, 0)
os.kill(other, signal.SIGKILL)
os.waitpid(other, 0)
gc.collect()
bus.poll()
assert bus.stats().lost == bus.stats().handler_errors == 0
bus.close()

expected = [posted[number] for number in sorted(posted)]
def of(kind):
    return [number for its_kind, number, text in seen if its_kind == kind]
print(json.dumps({
    "finalisers": next(finalisers),
    "lost": sum(data not in seen for data in expected[::100]) + max(0, len(expected) - len(seen)),
    "duplicated": max(0, len(seen) - len(expected)),
    "reordered": sum(data != other for data, other in zip(seen, expected)),
    "torn": sum(text != "x" * (number % 97) for kind, number, text in seen),
    "unexpected": sum(of(kind) != list(range(plain)) for kind in ("plain", "unique")),
}))
"""


def test_posts_amid_posts(campaign, name):
    """G2, G4, G5: no deadlock, each id as it was returned, each payload whole."""
    signals = campaign.size(AT_ONCE, 50_000)
    for done in range(0, signals, AT_ONCE):
        counts = json.loads(run(PROGRAM, name, campaign.random.randrange(1 << 32), AT_ONCE))
        campaign.counts.update(counts)
        campaign.progress(NAME, done)
    campaign.end(NAME, signals)
