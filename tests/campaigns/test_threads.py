"""Threads of several processes that do all there is to do at once, closing and opening included.

Each process has a bus that its threads share. They post, one and many, poll, register, change
settings, look around, lead tasks, wait, ask and answer; one of them closes the bus now and then,
and opens it again. Nothing of what a session was handed, from its opening to its close, may be
missing, unless it was told as lost; all sessions of all processes see the events in one order, that
of their ids; each answer is one to its question; and of a lead that was given up nothing is left.
"""

from __future__ import annotations

import json
from contextlib import suppress

from programs import start

import stdevents

NAME = "threads at once"
PROCESSES, CALLS = 2, 3_000  # calls of all threads of a process, in a round

PROGRAM = """
import itertools, json, os, random, sys, threading
import stdevents

name, seed, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
me = os.getpid()
bus = stdevents.Bus()
numbers, calls = itertools.count(), itertools.count()
sessions = []  # of each what it was handed: payloads, and the ids of what it lost
posted = {}  # id: payload
refused = []  # payloads whose post ended by NotConfigured, or the like
done = {"waits": 0, "answers": 0}

@bus.on("test")
def handle(data, event, source, pid):
    sessions[-1].append(data)

@bus.on("stdevents", "lost")
def lose(data, event, source, pid):
    sessions[-1].append(["lost", data["first"], data["last"]])

def open_bus():
    sessions.append([])
    bus.configure(name, interval=chance.choice((0, 0.01, 5)), wait_max=30)

def payload(kind):
    return f"{kind} {me}.{next(numbers)}"

def post():
    data = payload(chance.choice(("plain", "plain", "unique")))
    try:
        posted[bus.post("test", "one", data, data if data[0] == "u" else None)] = data
    except stdevents.StdeventsError:
        refused.append(data)
        raise

def post_many():
    all_data = [payload("plain") for _ in range(chance.randrange(1, 9))]
    try:
        ids = bus.post_many([("test", "many", data) for data in all_data])
    except stdevents.StdeventsError:
        refused.extend(all_data)
        raise
    posted.update(zip(ids, all_data))

def register():
    def other(*_):
        pass
    bus.register(other, "test", chance.choice(("one", "many")))
    bus.register_weak(other)
    assert bus.unregister(other, "test", "one") != bus.unregister(other, "test", "many")

def change():
    bus.configure(timeout=chance.choice((1, 2)), interval=chance.choice((0, 0.01, 5)))

@bus.answer("test", "question")
def answer(data, event, source, pid):
    return [data, me]

def lead():
    task = chance.choice(("one", "other"))
    bus.lead(task)
    bus.lead(task, give_up=chance.random() < 0.9)

def wait():
    done["waits"] += bus.wait(bus.stats().last_id, timeout=0.02)

def ask():
    question = payload("question")
    for answer in bus.ask("test", "question", question, timeout=0.02).values():
        assert answer.error or answer.value == [question, answer.pid], answer
        done["answers"] += not answer.error

def together():
    chance.choices((lead, wait, ask), (8, 1, 1))[0]()

def close_and_open():
    if chance.random() < 0.1:
        bus.close()
        open_bus()

usual = [post, post_many, bus.poll, bus.poll, register, bus.stats, bus.workers, change, bus.fileno,
         lambda: bus.post_local("local", "event"), together]

def work(seed, calls_of_it):
    mine = random.Random(seed)
    while next(calls) < most:
        try:
            mine.choice(calls_of_it)()
        except stdevents.NotConfigured:
            pass  # another thread has closed it
        except ValueError as error:
            assert "no bus is open here" in str(error), error  # changed while it was closed

def watched(*arguments):
    try:
        work(*arguments)
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)

chance = random.Random(seed)
open_bus()
threads = [threading.Thread(target=watched, args=(seed + number, usual)) for number in range(3)]
threads.append(threading.Thread(target=watched, args=(seed, [*usual, close_and_open])))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for task in ("one", "other"):
    bus.lead(task, give_up=True)
numbers_of_files = os.listdir("/dev/fd")
led = [number for number in numbers_of_files if "/lead." in os.path.realpath(f"/dev/fd/{number}")]
assert not led, led
bus.close()
print(json.dumps([sessions, posted, refused, next(calls), done]))
"""


def test_threads(campaign, name):
    """G1, G2, G3: each session is handed all that was posted meanwhile, in one order, and once."""
    cases, most = 0, campaign.size(PROCESSES * CALLS, 600_000)
    while cases < most:
        cases += round_of(campaign, name)
        campaign.progress(NAME, cases)
    assert campaign.counts["sessions"] > 3
    assert campaign.counts["answers"]
    campaign.end(NAME, cases)


def round_of(campaign, name):
    """One round; how many calls there were."""
    keeper = stdevents.Bus(name, size="32m", interval=0.01)  # so that the bus is one and the same
    seeds = [campaign.random.randrange(1 << 32) for _ in range(PROCESSES)]
    programs = [start(PROGRAM, name, seed, CALLS) for seed in seeds]
    results = []
    for program in programs:
        out, err = program.communicate()
        assert (program.returncode, err) == (0, ""), err
        results.append(json.loads(out))
    last = keeper.stats().last_id
    keeper.close()
    posted = {int(event_id): data for _, ids, *_ in results for event_id, data in ids.items()}
    refused = {data for _, _, of_it, *_ in results for data in of_it}
    id_of = {data: event_id for event_id, data in posted.items()}
    campaign.count("duplicated", len(posted) - len(id_of) + len(refused & {*id_of}))
    campaign.count("unexpected", sum(not 0 < event_id <= last for event_id in posted))
    sessions = [session for of_process, *_ in results for session in of_process]
    campaign.count("sessions", len(sessions))
    for session in sessions:
        check_session(campaign, session, posted, id_of)
    by_one = [one for session in sessions for one in session if one[0].startswith("u")]
    campaign.count("duplicated", len(by_one) - len({*by_one}))
    for *_, done in results:
        campaign.count("waits", done["waits"])
        campaign.count("answers", done["answers"])
    return sum(calls for *_, calls, _ in results)


def check_session(campaign, session, posted, id_of):
    """What one process was handed from an opening to a close."""
    seen, told = [], set()
    for one in session:
        if isinstance(one, list):
            told |= {*range(one[1], one[2] + 1)}
        elif one in id_of:
            seen.append(id_of[one])
        else:
            campaign.count("unexpected")
    campaign.count("handled", len(seen))
    campaign.count("told as lost", len(told))
    campaign.count("reordered", seen != sorted(seen))
    campaign.count("duplicated", len(seen) - len({*seen}))
    with suppress(IndexError):
        for_all = {event_id for event_id, data in posted.items() if data.startswith("p")}
        between = {event_id for event_id in for_all if seen[0] <= event_id <= seen[-1]}
        campaign.count("lost", len(between - {*seen} - told))
