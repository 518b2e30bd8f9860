"""What nobody alive holds is stale, and is replaced (G9)."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest
from inside import Map
from programs import run
from remains import (
    COUNTERS,
    KILLED,
    LENGTHS,
    NOBODY,
    WORDS,
    assert_opens_anew,
    assert_refused,
    needs_root,
    write_word,
)

import stdevents

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)


def test_what_killed_workers_left_is_replaced(name, folder, memory):
    """G9."""
    run(KILLED, name)
    assert os.path.exists(memory)
    assert {"lock", "worker.0"} <= set(os.listdir(folder))
    assert_opens_anew(name)


@pytest.mark.parametrize(("word", "value"), WORDS + COUNTERS)
def test_stale_memory_is_replaced_however_damaged(name, stale, word, value):
    """G9."""
    write_word(stale, word, value)
    assert_opens_anew(name)


@pytest.mark.parametrize("length", LENGTHS)
def test_stale_memory_is_replaced_however_short(name, stale, length):
    """G9."""
    os.truncate(stale, length)
    assert_opens_anew(name)


@needs_root
def test_stale_memory_of_another_user_is_replaced_if_it_can_be(name, stale):
    """G9."""
    os.chown(stale, NOBODY, -1)
    assert_opens_anew(name)


@pytest.mark.parametrize("left", ["folder", "lock", "worker", "files", "memory"])
def test_what_was_killed_while_it_came_or_went_is_replaced(name, folder, memory, left):
    """G9: at whatever step of joining or leaving it was."""
    if left != "memory":
        os.mkdir(folder, 0o700)
    files = {
        "lock": ["lock"],
        "worker": ["lock", "worker.0", "worker.1023"],
        "files": ["worker.x", "worker.", "worker.99999", "worker.1.2", "of another version"],
    }
    for file in files.get(left, []):
        open(f"{folder}/{file}", "x").close()
    if left == "memory":
        open(memory, "x").close()
    assert_opens_anew(name)


def test_stale_memory_of_another_size_is_replaced(name, stale):
    """G9: the size that counts is that of who creates it."""
    with contextlib.closing(stdevents.Bus(name, size=2048, interval=0)):
        assert os.stat(stale).st_size == Map(2048).total


def test_a_folder_in_place_of_the_memory_is_an_error_that_leaves_nothing(name, folder, memory):
    os.mkdir(memory)
    try:
        assert_refused(name)
        assert not os.path.exists(folder)
    finally:
        os.rmdir(memory)
    assert_opens_anew(name)


@needs_root
def test_memory_of_another_user_is_an_error_that_leaves_nothing(name):
    """As in /dev/shm, where only its owner may remove a file."""
    program = """
import os, sys
import stdevents
from inside import folder_of, memory_file_of

name, nobody = sys.argv[1], int(sys.argv[2])
os.seteuid(nobody)
folder, memory = folder_of(name), memory_file_of(name)
os.seteuid(0)
open(memory, "x").close()
os.seteuid(nobody)
try:
    stdevents.Bus(name)
except stdevents.SegmentError as error:
    print(error, os.path.exists(folder))
os.seteuid(0)
os.unlink(memory)
"""
    printed = run(program, name, NOBODY)
    assert name in printed
    assert printed.endswith("False\n")
