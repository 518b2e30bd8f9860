"""A signal handler and finalisers that post, whatever their own thread is in the middle of.

Another process posts as well, so that the lock is often to be waited for. A post that interrupted
a call under the lock has no id: it returns 0, and that call publishes it before it returns. So
events are known here by what they carry.
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
seen, finalisers = [], itertools.count()
by_id, left = {}, []  # events that were posted: at once, and by the call that was interrupted

def post(kind, number, unique=None):
    event = kind, number
    event_id = bus.post("test", kind, [*event, "x" * (number % 97)], unique)
    if event_id:
        by_id[event_id] = event
    else:
        left.append(event)

class Dying:
    def __init__(self):
        self.me = self  # for the collector
    def __del__(self):
        post("finaliser", next(finalisers))

numbers = itertools.count(1)  # one call: a handler may be interrupted by the next
count = 0
def handle(signal_number, frame):
    global count
    number = count = next(numbers)
    post("signal", number)

other = os.fork()
if not other:
    signal.alarm(50)
    while True:
        bus.post("other", "event")
        bus.poll()
getattr(gc, "set_threshold", int)(50)  # often
bus.register(lambda data, event, source, pid: seen.append(tuple(data)), "test")
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
late = len(by_id) + len(left) + len(["started"]) - bus.stats().posted
os.kill(other, signal.SIGKILL)
os.waitpid(other, 0)
gc.collect()
bus.poll()
assert bus.stats().lost == bus.stats().handler_errors == 0
bus.close()

events = [(kind, number) for kind, number, text in seen]
at_once = {*by_id.values()}
in_order = [event for event in events if event in at_once]
def of(kind):
    return [number for its_kind, number in events if its_kind == kind]
print(json.dumps({
    "finalisers": next(finalisers),
    "left to the interrupted call": len(left),
    "lost": len({*at_once, *left} - {*events}) + (late != 0),
    "duplicated": len(events) - len({*events}),
    "reordered": sum(
        by_id[event_id] != event for event_id, event in zip(sorted(by_id), in_order)
    ),
    "torn": sum(text != "x" * (number % 97) for kind, number, text in seen),
    "unexpected": sum(of(kind) != list(range(plain)) for kind in ("plain", "unique"))
    + len({*events} - at_once - {*left}),
}))
"""


def test_nested_posts(campaign, name):
    """G2, G4, G5: no deadlock, ids as they were returned, each payload whole, and there once."""
    signals = campaign.size(AT_ONCE, 50_000)
    campaign.in_programs(
        NAME, signals, AT_ONCE, lambda seed: json.loads(run(PROGRAM, name, seed, AT_ONCE))
    )
    assert campaign.counts["left to the interrupted call"] > signals / 20
    campaign.end(NAME, signals)
