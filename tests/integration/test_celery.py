"""Celery: an event reaches every child of a prefork pool, and those that replace one."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from servers import PATIENCE, wait_until

CHILDREN = 3
DEADLY = """
import os, signal
from celery_app import app

@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def pool(start):
    return lambda *options: start(
        *("celery", "-A", "celery_app", "worker", "--concurrency", str(CHILDREN)),
        *("--prefetch-multiplier", "1", "--loglevel", "warning", "--without-mingle"),
        *("--without-gossip", "--without-heartbeat", *options),
        # A child that has nothing to do but to wait for a processor is not dead.
        *("--", f"worker_proc_alive_timeout={PATIENCE:g}"),
    )


@pytest.fixture(params=["folders", "redis"])
def broker(request, monkeypatch):
    """The queue of folders, and what the example says to take in production."""
    if request.param == "folders":
        return "filesystem://"
    url = request.getfixturevalue("redis_url").replace("unix://", "redis+socket://")
    monkeypatch.setenv("BROKER", url)
    return url


@pytest.fixture
def asker(examples, monkeypatch, broker):
    """A client of the example's tasks."""
    monkeypatch.setenv("PRICES", str(examples))
    monkeypatch.syspath_prepend(str(examples))
    sys.modules.pop("celery_app", None)  # that of another test
    import celery_app

    assert celery_app.app.conf.broker_url == broker
    return Asker(celery_app, examples)


class Asker:
    def __init__(self, tasks, folder):
        self._tasks = tasks
        self._queue = folder / "queue"
        # Celery's queue of files takes one from its folder that is not quite written yet.
        self._outbox = folder / "outbox"
        self._outbox.mkdir()
        tasks.app.conf.broker_transport_options["data_folder_out"] = str(self._outbox)
        self.count = 0

    def send(self, name, *arguments):
        """Send a task; returns what is to be its result."""
        self.count += 1
        result = self._tasks.app.send_task(name, arguments)
        for message in self._outbox.iterdir():
            message.rename(self._queue / message.name)
        return result

    def until_all(self, accept):
        """Have prices looked up until so many children have answered as `accept` wants it."""
        accepted = {}

        def all_have():
            asked = [self.send("celery_app.price", "tea") for _ in range(4 * CHILDREN)]
            for result in asked:
                answer = result.get(timeout=PATIENCE, interval=0.01)
                if accept(answer):
                    accepted[answer["pid"]] = answer
            return len(accepted) >= CHILDREN

        wait_until(all_have, lambda: f"{CHILDREN} children, only {accepted}")
        return set(accepted)

    def change(self, price):
        self.send("celery_app.change", "tea", price).get(timeout=PATIENCE, interval=0.01)

    def change_price(self, price):
        warm = self.until_all(lambda answer: answer["cached"])
        self.change(price)
        changed = self.until_all(lambda answer: answer["price"] == price)
        assert changed == warm
        return changed


def test_an_event_reaches_every_child(asker, pool, told):
    worker = pool()
    children = asker.change_price("3.20")
    worker.stop()
    told(f"{len(children)} children acted, {asker.count} tasks")


@pytest.mark.parametrize("broker", ["folders"], indirect=True)
def test_a_task_that_begins_after_a_change_sees_it(woken_or_not, asker, pool, told):
    """No waiting for a loop: each child polls before its next task."""
    worker = pool()
    children = asker.change_price("3.20")
    for count in range(10):
        price = f"{count}.50"
        asker.change(price)

        def knows(answer, price=price):
            assert answer["price"] == price
            return True

        assert asker.until_all(knows) == children
    worker.stop()
    told(f"{len(children)} children, {asker.count} tasks, none stale")


@pytest.mark.parametrize("broker", ["folders"], indirect=True)
def test_a_handler_that_fails_is_seen_in_the_log(asker, pool, witness, told):
    worker = pool()
    asker.change_price("3.20")
    witness().make_handlers_fail()
    wait_until(lambda: worker.failures() >= CHILDREN, worker.log)
    worker.send(signal.SIGTERM)
    worker.end()
    assert worker.failures() == CHILDREN
    told(f"{worker.failures()} children told of it, {asker.count} tasks")


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_an_idle_child_that_is_killed_holds_up_nobody(asker, pool, witness, told):
    """With a broker that Celery waits for in its main process."""
    worker = pool()
    before = asker.change_price("3.20")
    watching = witness()
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: len(watching.others() - {min(before)}) == CHILDREN, "its successor")
    after = asker.change_price("4.50")
    assert after == watching.others()
    assert len(before & after) == CHILDREN - 1
    worker.kill()
    wait_until(lambda: not watching.others(), "their death")
    watching.bus.close()
    told(f"killed 1 of {CHILDREN}; its successor and the others acted, {asker.count} tasks")


@pytest.mark.parametrize("broker", ["folders"], indirect=True)
def test_a_killed_child_has_a_successor_that_acts(asker, pool, examples, witness, told):
    """Amid a task: with a queue of files an idle child may hold a lock that all others wait for."""
    (examples / "deadly.py").write_text(DEADLY)
    worker = pool("--include", "deadly")
    before = asker.change_price("3.20")
    watching = witness()
    asker.send("deadly.die")
    wait_until(lambda: not watching.others() >= before, "its death")
    wait_until(lambda: len(watching.others()) == CHILDREN, "its successor")
    after = asker.change_price("4.50")
    assert after == watching.others()
    assert len(before & after) == CHILDREN - 1
    assert not watching.stopped  # G5: not a word from it, and yet nothing is held
    # With a lost child Celery does not always end. G9: who stays removes what the killed ones left.
    worker.kill()
    wait_until(lambda: not watching.others(), "their death")
    watching.bus.close()
    told(f"killed 1 of {CHILDREN}; its successor and the others acted, {asker.count} tasks")


def test_children_that_are_replaced_after_some_tasks(asker, pool, witness, told):
    worker = pool("--max-tasks-per-child", "8")
    watching = witness()
    wait_until(lambda: len(watching.others()) == CHILDREN, "the children")
    first = watching.others()

    def replaced():
        asker.until_all(lambda answer: True)
        return not watching.others() & first

    wait_until(replaced, "all of them to be replaced")
    watching.bus.close()
    worker.stop()
    told(f"all {CHILDREN} children replaced, {asker.count} tasks")


@pytest.mark.parametrize("broker", ["folders"], indirect=True)
def test_threads_are_one_worker_which_opens_the_bus_at_its_first_task(asker, pool, witness, told):
    worker = pool("--pool", "threads")
    for count in range(10):
        price = f"{count}.50"
        asker.change(price)
        asked = [asker.send("celery_app.price", "tea") for _ in range(4 * CHILDREN)]
        answers = [result.get(timeout=PATIENCE, interval=0.01) for result in asked]
        assert {answer["price"] for answer in answers} == {price}
    watching = witness()
    assert watching.others() == {worker.pid}
    worker.stop()
    assert not watching.others()
    assert watching.stopped == [worker.pid]
    watching.bus.close()
    told(f"{asker.count} tasks, none stale")


LISTENING = """

from celery.signals import worker_init

@worker_init.connect
def listen(**_):
    stdevents.configure("{name}", role="listener")
"""


@pytest.mark.parametrize("broker", ["folders"], indirect=True)
def test_a_main_process_that_listens_forks_workers(asker, pool, examples, name, witness, told):
    """As docs/roles.md says."""
    with (examples / "celery_app.py").open("a") as example:
        example.write(LISTENING.format(name=name))
    worker = pool()
    children = asker.change_price("3.20")
    watching = witness()
    assert watching.others() == children | {worker.pid}
    watching.bus.close()
    worker.stop()
    told(f"{len(children)} children acted, and the main process was on the bus")
