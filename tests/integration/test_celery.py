"""Celery: an event reaches every child of a prefork pool, and those that replace one."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from celery.exceptions import TimeoutError
from servers import PATIENCE, wait_until

CHILDREN = 3


@pytest.fixture
def tasks(examples, monkeypatch):
    """The example's tasks, as a client has them."""
    monkeypatch.setenv("PRICES", str(examples))
    monkeypatch.syspath_prepend(str(examples))
    import celery_app

    yield celery_app
    del sys.modules["celery_app"]


@pytest.fixture
def pool(start):
    return lambda *options: start(
        *("celery", "-A", "celery_app", "worker", "--concurrency", str(CHILDREN)),
        *("--prefetch-multiplier", "1", "--loglevel", "warning", "--without-mingle"),
        *("--without-gossip", "--without-heartbeat", *options),
    )


class Asker:
    def __init__(self, tasks):
        self._tasks = tasks
        self.count = 0
        self.unanswered = 0  # a task goes with the child that has it, if that is killed

    def until_all(self, accept):
        """Have prices looked up until so many children have answered as `accept` wants it."""
        accepted = {}

        def all_have():
            asked = [self._tasks.price.delay("tea") for _ in range(4 * CHILDREN)]
            self.count += len(asked)
            for result in asked:
                try:
                    answer = result.get(timeout=PATIENCE / 4, interval=0.01)
                except TimeoutError:
                    self.unanswered += 1
                    continue
                if accept(answer):
                    accepted[answer["pid"]] = answer
            return len(accepted) >= CHILDREN

        wait_until(all_have, lambda: f"{CHILDREN} children, only {accepted}")
        return set(accepted)

    def change_price(self, price):
        warm = self.until_all(lambda answer: answer["cached"])
        self.count += 1
        self._tasks.change.delay("tea", price).get(timeout=PATIENCE, interval=0.01)
        changed = self.until_all(lambda answer: answer["price"] == price)
        assert changed == warm
        return changed


def test_an_event_reaches_every_child(tasks, pool, told):
    worker, asker = pool(), Asker(tasks)
    children = asker.change_price("3.20")
    worker.stop()
    assert asker.unanswered == 0
    told(f"{len(children)} children acted, {asker.count} tasks")


def test_a_killed_child_has_a_successor_that_acts(tasks, pool, witness, told):
    worker, asker = pool(), Asker(tasks)
    before = asker.change_price("3.20")
    watching = witness()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(watching.others() - {victim}) == CHILDREN, "its successor")
    after = asker.change_price("4.50")
    assert after == watching.others()
    assert len(before & after) == CHILDREN - 1
    watching.bus.close()
    worker.send(signal.SIGTERM)
    worker.process.wait()
    told(
        f"killed 1 of {CHILDREN}; its successor and the others acted, {asker.count} tasks, "
        f"{asker.unanswered} gone with it"
    )


def test_children_that_are_replaced_after_some_tasks(tasks, pool, witness, told):
    worker, asker = pool("--max-tasks-per-child", "8"), Asker(tasks)
    watching = witness()
    wait_until(lambda: len(watching.others()) == CHILDREN, "the children")
    first = watching.others()

    def replaced():
        asker.until_all(lambda answer: True)
        return not watching.others() & first

    wait_until(replaced, "all of them to be replaced")
    watching.bus.close()
    worker.stop()
    assert asker.unanswered == 0
    told(f"all {CHILDREN} children replaced, {asker.count} tasks")
