"""KeyboardInterrupt at random instants of post, claim and poll, by a timer's signal.

One, or two or three within some 20 microseconds, so that the later ones meet the cleaning up after
the first. The lock is free at once, for another process; and what was posted before is whole.
"""

from __future__ import annotations

import json

from programs import run

NAME = "KeyboardInterrupt at random instants"
AT_ONCE = 2_000  # cases of one program

PROGRAM = """
import gc, itertools, json, os, random, signal, sys, time
import stdevents

name, seed, cases = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
numbers, acknowledged, seen = itertools.count(), [], []
texts = ["", "x" * 10, "x" * 3_000]
where = dict.fromkeys(("post", "poll", "other", "two", "three"), 0)
left, struck = 0, []  # of one case: signals that are to come, and the functions that each has met
# The second is what CPython 3.8 makes of two of the first within one call of C code.
raised = (KeyboardInterrupt, SystemError) if sys.version_info < (3, 9) else KeyboardInterrupt

def interrupt(number, frame):
    global left
    left -= 1
    struck.append(functions := set())
    while frame is not None:
        functions.add(frame.f_code.co_name)
        frame = frame.f_back
    if left:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 2e-5))
    raise KeyboardInterrupt

def strike(work):
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-4))
    while True:  # not `while not struck`, whose jump back CPython 3.13 leaves out of the try
        work()
        if struck:
            sys.exit(f"it was swallowed, in {struck}")

def await_all():
    while left:
        time.sleep(1e-4)
        if left:  # the one before was cut off before it set the timer
            signal.setitimer(signal.ITIMER_REAL, 1e-6)

def interrupted(work, signals):
    # Whatever they hit, they hit it in here: in `work`, or in the handlers before the last one.
    global left
    left = signals
    struck.clear()
    try:
        try:
            try:
                strike(work)
            except raised:
                await_all()
        except raised:
            await_all()
    except raised:
        await_all()
    functions = set().union(*struck)
    where["poll" if "poll" in functions else "post" if "post" in functions else "other"] += 1
    inside = sum("strike" in one for one in struck)
    if inside > 1:
        where["two" if inside == 2 else "three"] += 1

def post(unique=None):
    number = next(numbers)
    bus.post("test", "event", [number, texts[number % 3]], unique)
    acknowledged.append(number)

def post_and_poll():
    post()
    bus.poll()

def post_and_claim():
    post(unique=next(numbers))
    bus.poll()

def live_as_the_other():
    for _ in iter(lambda: os.read(to_other[0], 1), b""):
        signal.alarm(30)
        bus.post("other", "event")
        os.write(from_other[1], b"!")

bus = stdevents.Bus(name, size="16m", interval=0, wait_max=20)
bus.register(lambda data, event, source, pid: seen.append(data), "test")
post_and_claim()  # what is imported late is, by now
gc.collect()  # and no finaliser of the importing is left, which would swallow what interrupts it
signal.signal(signal.SIGALRM, interrupt)
to_other, from_other = os.pipe(), os.pipe()
other = os.fork()
if not other:
    os.close(to_other[1])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    live_as_the_other()
    os._exit(0)
os.close(from_other[1])
for case in range(cases):
    interrupted(chance.choice((post, post_and_poll, post_and_claim)), chance.choice((1, 2, 3)))
    os.write(to_other[1], b"?")
    assert os.read(from_other[0], 1) == b"!", "the lock was kept"
    if case % 20 == 0:
        bus.poll()
os.close(to_other[1])
assert os.waitpid(other, 0)[1] == 0
bus.poll()
assert bus.stats().lost == bus.stats().handler_errors == 0
assert [worker.pid for worker in bus.workers()] == [os.getpid()]
bus.close()

delivered = [number for number, text in seen]
missed = set(acknowledged) - set(delivered)
print(json.dumps({
    "in post": where["post"],
    "in poll": where["poll"],
    "two at once": where["two"],
    "three at once": where["three"],
    # An event that was just being handled is not handled again.
    "handler interrupted": len(missed),
    "lost": max(0, len(missed) - where["poll"]),
    "recovered": len(set(delivered) - set(acknowledged)),
    "duplicated": len(delivered) - len(set(delivered)),
    "reordered": sum(later < number for number, later in zip(delivered, delivered[1:])),
    "torn": sum(text != texts[number % 3] for number, text in seen),
}))
"""


def test_interrupts(campaign, name):
    """G2, G4, G5: nothing is torn, or there twice; only what was just being handled is missed."""
    cases = campaign.size(AT_ONCE, 220_000)
    campaign.in_programs(
        NAME, cases, AT_ONCE, lambda seed: json.loads(run(PROGRAM, name, seed, AT_ONCE))
    )
    campaign.end(NAME, cases)
