"""A server that forks behind Python's back is found out."""

from __future__ import annotations

import sys
import types

import pytest

import stdevents

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)


@pytest.mark.parametrize(
    ("worker", "options", "refused"),
    [
        (0, {"master": True}, True),
        (0, {"master": True, "py-call-uwsgi-fork-hooks": True}, False),
        (2, {"master": True}, False),
    ],
)
def test_the_master_of_uwsgi_does_not_open_a_bus_for_its_workers(
    worker, options, refused, name, monkeypatch
):
    """G7: its forks run no hooks, unless it is told to; a worker may open what it wants."""
    server = types.SimpleNamespace(worker_id=lambda: worker, opt=options)
    monkeypatch.setitem(sys.modules, "uwsgi", server)
    if refused:
        with pytest.raises(stdevents.StdeventsError, match="uwsgi.post_fork_hook"):
            stdevents.configure(name, interval=0)
    else:
        stdevents.configure(name, interval=0)
    assert stdevents.configured() is not refused
    stdevents.close()
