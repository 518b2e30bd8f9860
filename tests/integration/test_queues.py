"""RQ, Huey and dramatiq: an event reaches every process, and the next task of each knows it.

Also where no post wakes a loop: each polls before its next task."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
import redis
from servers import BIN, environment, wait_until

WORKERS = 3
ROUNDS = 5

# A client of the example, in a process of its own: it reads calls from its input, and does so many
# of each at once.
CLIENT = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
from concurrent.futures import ThreadPoolExecutor
begin = {
    "rq_app": lambda task, *given: lambda: module.result(task, *given),
    "dramatiq_app": lambda task, *given: lambda: module.result(task, *given),
    "huey_app": lambda task, *given: lambda: task(*given)(blocking=True, timeout=60),
}[sys.argv[1]]
with ThreadPoolExecutor(12) as pool:
    for line in sys.stdin:
        times, task, *given = json.loads(line)
        calls = [pool.submit(begin(getattr(module, task), *given)) for _ in range(times)]
        print(json.dumps([call.result() for call in calls]), flush=True)
"""


@pytest.fixture
def client(examples):
    """`client(module)` is a function that has a task done so many times; its results."""
    clients = []

    def start(module, **more):
        process = subprocess.Popen(
            [str(BIN / "python"), "-c", CLIENT, module],
            cwd=examples,
            env=environment(PRICES=str(examples), **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        clients.append(process)

        def do(times, task, *given):
            process.stdin.write(json.dumps([times, task, *given]) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        return do

    yield start
    for process in clients:
        process.kill()
        process.communicate()


def until_all(do, workers, accept):
    """Look prices up until so many workers have answered as `accept` wants it; their pids."""
    accepted = set()

    def all_have():
        accepted.update(one["pid"] for one in do(4 * workers, "price", "tea") if accept(one))
        return len(accepted) >= workers

    wait_until(all_have, lambda: f"{workers} workers, only {accepted}")
    return accepted


def always_fresh(do, workers):
    """Change a price again and again; each task that begins after that must know it."""
    everybody = until_all(do, workers, lambda answer: answer["cached"])
    for count in range(ROUNDS):
        price = f"{count}.50"
        (changed,) = do(1, "change", "tea", price)
        assert changed["event"]

        def knows(answer, price=price):
            assert answer["price"] == price
            return True

        assert until_all(do, workers, knows) == everybody
    return everybody


def test_every_process_of_huey(woken_or_not, start, client, witness, told):
    consumer = start("huey_consumer", "huey_app.huey", "-k", "process", "-w", WORKERS)
    workers = always_fresh(client("huey_app"), WORKERS)
    watching = witness()
    assert watching.others() == workers
    consumer.send(signal.SIGTERM)
    consumer.end()
    assert not watching.others()
    assert set(watching.stopped) == workers
    watching.bus.close()
    told(f"{len(workers)} processes, none stale")


def test_every_process_of_dramatiq(woken_or_not, start, client, witness, redis_url, told):
    processes = ("--processes", WORKERS, "--threads", 2)
    master = start("dramatiq", *processes, "dramatiq_app", BROKER=redis_url)
    workers = always_fresh(client("dramatiq_app", BROKER=redis_url), WORKERS)
    watching = witness()
    assert watching.others() == workers
    os.kill(min(workers), signal.SIGKILL)
    wait_until(lambda: watching.others() == workers - {min(workers)}, "its death")
    master.send(signal.SIGTERM)
    master.end()
    assert not watching.others()
    assert set(watching.stopped) == workers - {min(workers)}
    watching.bus.close()
    told(f"{len(workers)} processes, none stale; one killed")


def states_of_rq(redis_url):
    """What its workers are doing, as they tell in Redis."""
    with redis.Redis.from_url(redis_url) as told:
        return {told.hget(worker, "state") for worker in told.smembers("rq:workers")}


def test_jobs_of_a_preloaded_worker_of_rq(woken_or_not, start, client, witness, redis_url, told):
    """What the worker has loaded is there in the child of each job, and never stale."""
    here = {"RQ_REDIS_URL": redis_url}
    workers = [start("rq", "worker", "--worker-class", "rq_app.Preloaded", **here) for _ in "ab"]
    watching = witness()
    pids = {worker.pid for worker in workers}
    wait_until(lambda: watching.others() == pids, "both workers")
    do, jobs = client("rq_app", **here), 0
    for count in range(ROUNDS):
        price = f"{count}.50"
        assert do(1, "change", "tea", price)[0]["event"]
        answers = do(6, "price", "tea")
        assert {(one["price"], one["cached"]) for one in answers} == {(price, True)}
        assert {one["worker"] for one in answers} <= pids
        assert len({one["pid"] for one in answers}) == len(answers)  # each in a process of its own
        jobs += 1 + len(answers)
    wait_until(lambda: states_of_rq(redis_url) == {b"idle"}, "idle workers")  # else rq may not hear
    for worker in workers:
        worker.stop()
    wait_until(lambda: not watching.others(), "their end")
    watching.bus.close()
    told(f"{jobs} jobs in processes of their own, none stale, each with what its worker had loaded")
