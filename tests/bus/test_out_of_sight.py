"""A process that does not see the folder of its bus any more, as after a chroot: `lead`, `wait`."""

from __future__ import annotations

import os
from functools import partial

import pytest
from inside import (
    before_lead,
    folder_of,
    has_its_ground,
    look_at_ground,
    make_folder,
    remove_folder,
)
from waiting import LONG

import stdevents

TASK = "cleaner"


only_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can change the root folder")
each_root = pytest.mark.parametrize("inside", ["nothing", "shared memory", "a folder of that name"])


def change_root(path, name, inside):
    os.chroot(path)
    if inside != "nothing":
        os.makedirs(os.path.dirname(folder_of(name)))
    if inside == "a folder of that name":
        make_folder(name)
        os.close(os.open(f"{folder_of(name)}/lock", os.O_CREAT))


@only_root
@each_root
def test_who_asks_for_a_lead_is_told_so_and_stays_on_its_bus(bus, name, fork, tmp_path, inside):
    """And leads by no file in another folder of that name: another worker leads."""

    def work(parent):
        assert bus.lead("before")
        change_root(tmp_path, name, inside)
        for _ in range(2):
            with pytest.raises(stdevents.SegmentError, match=f"cannot see.*'{TASK}'"):
                bus.lead(TASK)
        assert bus.lead("before")
        assert not bus.lead("before", give_up=True)
        bus.poll()
        assert has_its_ground(bus)
        return bus.post("test", "from within"), len(bus.workers())

    assert bus.lead(TASK)
    child = fork(work)
    number, workers = child.result()
    assert bus.wait(number) and workers == 2
    assert bus.lead("before")


@only_root
@each_root
def test_nobody_is_dead_to_it(bus, name, fork, tmp_path, inside):
    """A worker that it does not see is waited for; and a poster posts on."""
    started = []
    bus.register(lambda _, event, source, pid: started.append(pid), "test")

    def work(parent):
        with stdevents.Bus(name, role="poster") as poster:
            change_root(tmp_path, name, inside)
            look_at_ground(poster)
            number = poster.post("test", "event")
            parent.tell(poster.wait(number, timeout=0.3))
            parent.hear()
            return poster.wait(number, LONG)

    child = fork(lambda parent: (bus.close(), work(parent))[1])
    assert child.hear() is False
    bus.poll()
    assert started == [child.pid]
    child.say()
    assert child.result() is True


@pytest.mark.parametrize("step", ["look", "take"])
def test_where_the_bus_is_removed_just_then_it_leads_on_the_next_one(
    bus, name, monkeypatch, caplog, step
):
    before_lead(monkeypatch, bus, step, partial(remove_folder, name))
    assert bus.lead(TASK)
    assert "it was removed while this process was on it" in caplog.text
    assert has_its_ground(bus)
