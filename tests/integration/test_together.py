"""gunicorn's workers together: figures of all, who has reloaded, jobs that one of them runs."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from servers import BIN, PATIENCE, environment, wait_until

WORKERS = 4
GUNICORN = (
    *("gunicorn", "-b", "unix:{socket}", "--log-level", "warning"),
    *("--timeout", f"{PATIENCE:g}", "--graceful-timeout", f"{PATIENCE:g}"),
)
METRICS = (*GUNICORN, "-c", "gunicorn_conf.py", "metrics_app:app")
RUN = re.compile(r"clean of ([\d:]+): worker (\d+)")


def sample(text, name, **labels):
    """The value of a sample, as Prometheus reads it."""
    (value,) = [
        one.value
        for family in families(text)
        for one in family.samples
        if (one.name, one.labels) == (name, labels)
    ]
    return value


@pytest.fixture
def reloaded(examples):
    """`reloaded()` runs that script; its process, and the lines that it says."""
    scripts = []

    def start():
        script = subprocess.Popen(
            [str(BIN / "python"), "reloaded.py"],
            cwd=examples,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        scripts.append(script)
        return script

    yield start
    for script in scripts:
        script.kill()
        script.communicate()


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_any_worker_tells_the_sum_of_all_registries(kind, serve, told):
    server = serve(*METRICS, "-k", kind)
    workers = server.until_all("/prices/tea", WORKERS, lambda answer: True)
    wanted = {"prices_looked_up_total": {"item": "tea"}, "price_seconds_count": {}}
    texts = [server.read("/metrics") for _ in range(3 * WORKERS)]
    answered = sum(server.answers.values()) + 1  # and the first, which was waited for
    for text in texts:
        for name, labels in wanted.items():
            assert sample(text, name, **labels) == answered
        assert sample(text, "price_seconds_bucket", le="+Inf") == answered
    server.stop()
    told(f"{answered} requests to {len(workers)} workers, all counted, by {len(texts)} answers")


def test_a_metric_of_a_killed_worker_is_gone_with_it(serve, witness):
    """What the header of the example says."""
    server = serve(*METRICS)
    workers = server.until_all("/prices/tea", WORKERS, lambda answer: True)
    victim = min(workers)
    watching = witness()
    before = sample(server.read("/metrics"), "prices_looked_up_total", item="tea")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(watching.others() - {victim}) == WORKERS, "its successor")
    watching.bus.close()
    after = sample(server.read("/metrics"), "prices_looked_up_total", item="tea")
    of_the_victim = server.answers[victim]
    assert before - after in (of_the_victim, of_the_victim + 1)  # the first was not counted here
    server.send(signal.SIGTERM)
    server.end()


def test_a_script_waits_until_everybody_has_reloaded(serve, reloaded, examples, told):
    server = serve(*METRICS)
    old = server.until_all("/prices/tea", WORKERS, lambda answer: True)
    os.utime(examples / "metrics_app.py", (1, 1))  # other code
    script = reloaded()
    behind = re.fullmatch(r"4 of 4 workers do not run it yet: \[(.+)\]\n", script.stdout.readline())
    assert {*map(int, behind[1].split(", "))} == old
    server.send(signal.SIGHUP)
    *_, last = script.stdout
    assert last == "all 4 workers run it\n"
    assert script.wait() == 0
    new = server.until_all("/prices/tea", WORKERS, lambda answer: True)
    assert not new & old
    server.stop()
    told(f"{len(old)} workers were behind, none of the {len(new)} that answer now is")


@pytest.mark.parametrize("preload", [(), ("--preload",)], ids=["", "preload"])
def test_each_job_runs_once_also_after_the_leader_was_killed(preload, serve, told):
    server = serve(*GUNICORN, *preload, "-c", "scheduler_conf.py", "flask_app:app")

    def runs():
        return [(time, int(pid)) for time, pid in RUN.findall(server.log())]

    leaders = []
    for _ in range(3):
        wait_until(
            lambda: sum(pid not in leaders for _, pid in runs()) > 1,
            lambda: f"jobs of a new leader; {server.log()}",
        )
        leader = runs()[-1][1]
        assert leader not in leaders
        leaders.append(leader)
        os.kill(leader, signal.SIGKILL)
    wait_until(lambda: runs()[-1][1] not in leaders, "jobs of the last leader")
    server.send(signal.SIGTERM)
    server.end()
    assert max(Counter(time for time, _ in runs()).values()) == 1
    turns = [pid for pid, _ in itertools.groupby(pid for _, pid in runs())]
    assert len(turns) == len({*turns})  # who was followed never comes again
    told(f"{len(runs())} jobs by {len(turns)} leaders, each once")
