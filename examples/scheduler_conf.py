"""APScheduler in gunicorn: of four workers one runs the jobs; when it dies, another takes over.

    pip install . flask gunicorn apscheduler
    cd examples; gunicorn -c scheduler_conf.py flask_app:app

Only the leader's scheduler runs, so each job runs once each time. Nobody is told of a death: the
others ask once a second, and a run that is due meanwhile is missed (with a job store of APScheduler
that outlives the worker, and `misfire_grace_time`, it is made up for). With --preload or without.
"""

from __future__ import annotations

import os
import threading

from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.schedulers.background import BackgroundScheduler

import stdevents

bind = "127.0.0.1:8000"
workers = 4
scheduler = BackgroundScheduler(timezone="UTC")
left, over = threading.Event(), threading.Event()


@stdevents.on("stdevents", "stopping")
def ask_again(data, event, source, pid):
    left.set()


@scheduler.scheduled_job("cron", second="*", id="clean")
def clean():
    if not stdevents.lead("jobs"):  # the bus was removed under it, and another leads on the new one
        raise RuntimeError("not the leader any more")


def tell(event):
    print(f"{event.job_id} of {event.scheduled_run_time:%X}: worker {os.getpid()}", flush=True)


scheduler.add_listener(tell, EVENT_JOB_EXECUTED)


def run_jobs():
    """Wait for the lead, and run the jobs from then on."""
    while not over.is_set():
        if stdevents.lead("jobs"):
            scheduler.start()
            break
        left.wait(1)
        left.clear()


asking = threading.Thread(target=run_jobs, daemon=True)


def post_fork(server, worker):
    stdevents.configure("my-app")
    asking.start()


def worker_exit(server, worker):  # before the bus is closed
    over.set()
    left.set()
    asking.join()
    if scheduler.running:
        scheduler.shutdown()
