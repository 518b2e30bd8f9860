"""Damaged memory while a worker lives: newcomers are told so, and the worker goes on."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import types
from multiprocessing import resource_tracker

import pytest
from inside import MAGIC, VERSION
from remains import (
    COUNTERS,
    HOLDER,
    LENGTHS,
    NOBODY,
    WORDS,
    assert_opens_anew,
    assert_refused,
    needs_root,
    read_word,
    running,
    write_word,
)

import stdevents

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)


def test_a_damaged_header_keeps_newcomers_out_and_harms_no_worker(name, worker, memory):
    handled = []
    for number, (word, value) in enumerate(WORDS):
        sound = read_word(memory, word)
        write_word(memory, word, value)
        assert_refused(name, errno.EINVAL)
        handled.append(str(number))
        assert worker(number) == handled
        write_word(memory, word, sound)
    stdevents.Bus(name, interval=0).close()


def test_a_damaged_counter_keeps_newcomers_out_and_is_not_made_worse(name, worker, memory):
    handled = []
    for number, (word, value) in enumerate(COUNTERS):
        sound = read_word(memory, word)
        write_word(memory, word, value)
        assert_refused(name, errno.EINVAL)
        write_word(memory, word, sound)
        handled.append(str(number))
        assert worker(number) == handled
    stdevents.Bus(name, interval=0).close()


def test_another_layout_version_is_called_so(name, worker, memory):
    write_word(memory, "HEADER_MAGIC", MAGIC + 1)
    refusal = assert_refused(name)
    assert f"layout version {VERSION + 1}, and this stdevents has {VERSION}" in refusal


def test_memory_that_is_cut_short_is_refused_while_somebody_lives(name, folder, stale):
    """And left alone."""
    with running(HOLDER, f"{folder}/worker.0"):
        for length in LENGTHS:
            os.truncate(stale, length)
            assert_refused(name, errno.EINVAL)
            assert os.stat(stale).st_size == length
    assert_opens_anew(name)


@needs_root
def test_memory_of_another_user_is_refused_while_somebody_lives(name, worker, memory):
    os.chown(memory, NOBODY, -1)
    assert str(NOBODY) in assert_refused(name, errno.EINVAL)
    assert worker("one") == ["one"]


def test_a_link_in_place_of_the_memory_is_not_followed(name, folder, stale, tmp_path):
    """Neither to join nor, when nobody lives, to replace it (G9)."""
    victim = tmp_path / "victim"
    shutil.move(stale, victim)
    os.symlink(victim, stale)
    sound = victim.read_bytes()
    with running(HOLDER, f"{folder}/worker.0"):
        assert_refused(name)
    assert_opens_anew(name)
    assert victim.read_bytes() == sound


def test_no_bus_touches_the_resource_tracker_of_multiprocessing(name, fork):
    """Two threads that replace its function put back each other's: it removed a bus in use."""

    def open_bus(parent):
        touched = []

        class Watched(types.ModuleType):
            def __setattr__(self, attribute, value):
                touched.append(attribute)
                super().__setattr__(attribute, value)

        def register(path, kind):
            touched.append(path)

        resource_tracker.register = register
        resource_tracker.__class__ = Watched
        stdevents.Bus(name, interval=0).close()
        return touched

    assert fork(open_bus).result() == []
