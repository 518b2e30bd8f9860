"""The folder of a bus: who may use it, and what may lie in its place."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys

import pytest
from inside import names, names_by_user
from remains import NOBODY, assert_opens_anew, assert_refused, needs_root

import stdevents

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="looks into /dev/shm, which is of Linux"
)

# -- the folder ------------------------------------------------------------------------------------


def test_what_a_bus_is_made_of_is_open_to_its_user_alone(bus, folder, memory):
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(memory).st_mode) == 0o600
    for file in os.listdir(folder):
        assert stat.S_IMODE(os.stat(f"{folder}/{file}").st_mode) == 0o600


@pytest.mark.parametrize("target", ["folder", "missing"])
def test_a_link_in_place_of_the_folder_is_not_followed(name, folder, tmp_path, target):
    there = tmp_path / target
    if target == "folder":
        there.mkdir(mode=0o700)
    os.symlink(there, folder)
    try:
        assert folder in assert_refused(name, errno.ENOTDIR)
        assert target == "missing" or os.listdir(there) == []
        assert there.exists() == (target == "folder")
    finally:
        os.unlink(folder)
    assert_opens_anew(name)


def test_a_file_in_place_of_the_folder_is_refused(name, folder):
    with open(folder, "x") as file:
        file.write("of somebody")
    try:
        assert folder in assert_refused(name, errno.ENOTDIR)
        with open(folder) as file:
            assert file.read() == "of somebody"
    finally:
        os.unlink(folder)
    assert_opens_anew(name)


@needs_root
def test_a_folder_of_another_user_is_refused(name, folder):
    os.mkdir(folder, 0o700)
    try:
        os.chown(folder, NOBODY, -1)
        assert str(NOBODY) in assert_refused(name, errno.EPERM)
        assert os.listdir(folder) == []
    finally:
        os.rmdir(folder)
    assert_opens_anew(name)


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701, 0o1777], ids=oct)
def test_a_folder_that_is_open_to_others_is_refused(name, folder, mode):
    os.mkdir(folder)
    try:
        os.chmod(folder, mode)
        assert "700" in assert_refused(name, errno.EPERM)
        assert os.listdir(folder) == []
    finally:
        os.rmdir(folder)
    assert_opens_anew(name)


@pytest.mark.parametrize("file", ["lock", "bell", "worker.0"])
@pytest.mark.parametrize("target", ["file", "missing"])
def test_a_link_in_the_folder_is_not_followed(name, folder, tmp_path, file, target):
    there = tmp_path / target
    if target == "file":
        there.write_text("of somebody")
    os.mkdir(folder, 0o700)
    os.symlink(there, f"{folder}/{file}")
    try:
        assert f"{folder}/{file}" in assert_refused(name, errno.ELOOP)
        assert there.exists() == (target == "file")
        assert target == "missing" or there.read_text() == "of somebody"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert_opens_anew(name)


def test_a_fifo_in_place_of_the_lock_is_refused(name, folder):
    """It is told as what it is, and not as a file that was closed by this program."""
    os.mkdir(folder, 0o700)
    os.mkfifo(f"{folder}/lock")
    try:
        assert_refused(name, errno.EEXIST)
    finally:
        shutil.rmtree(folder)
    assert_opens_anew(name)


def test_a_folder_in_place_of_the_lock_is_refused(name, folder):
    os.makedirs(f"{folder}/lock", 0o700)
    try:
        os.chmod(folder, 0o700)
        assert_refused(name, errno.EISDIR)
    finally:
        shutil.rmtree(folder)
    assert_opens_anew(name)


# -- what a killed set left behind -----------------------------------------------------------------


@needs_root
def test_a_folder_of_another_user_is_not_listed(name, folder):
    os.mkdir(folder, 0o700)
    assert name in names()
    os.chown(folder, NOBODY, -1)
    assert name not in names()
    os.rmdir(folder)


def test_folder_and_memory_tell_their_user_in_the_same_way(bus, folder, memory):
    """And no folder of any bus is called as a segment is."""
    user = f"/dev/shm/stdevents-{os.geteuid()}"
    assert folder.startswith(f"{user}-")
    assert memory.startswith(f"{user}.")


@needs_root
def test_buses_are_told_apart_by_their_users(name, folder):
    its = folder.replace(f"-{os.geteuid()}-", f"-{NOBODY}-", 1)
    os.mkdir(folder, 0o700)
    os.mkdir(its, 0o700)
    os.chown(its, NOBODY, -1)
    try:
        found = names_by_user()
        assert name in found[os.geteuid()] and name in found[NOBODY]
        os.chown(its, 0, 0)  # as anybody may make it
        assert name not in names_by_user().get(NOBODY, [])
    finally:
        os.rmdir(folder)
        os.rmdir(its)


# -- where permissions are few ---------------------------------------------------------------------


def become_nobody():
    if os.geteuid() == 0:  # which no permission keeps out
        os.setgid(NOBODY)
        os.setuid(NOBODY)


@pytest.mark.parametrize("umask", [0o177, 0o277, 0o777])
def test_a_umask_that_takes_what_the_owner_needs_keeps_nobody_out(name, fork, umask):
    def post(parent):
        bus.post("test", "event")
        return len(bus.workers())

    def open_bus(parent):
        nonlocal bus
        become_nobody()
        os.umask(umask)
        with stdevents.Bus(name, interval=0) as bus:
            assert bus.lead("task")
            assert fork(post).result() == 2
            bus.poll()
            return bus.stats().handled

    bus = None
    assert fork(open_bus).result() >= 2


@needs_root
@pytest.mark.skipif(sys.implementation.name == "pypy", reason="PyPy opens /dev/urandom")
def test_a_root_folder_that_cannot_be_read_keeps_nobody_out(name, fork, tmp_path):
    """As in a sandbox. It is opened only to pass over the numbers of closed standard streams."""

    def open_bus(parent):
        (tmp_path / "dev" / "shm").mkdir(parents=True)
        os.chmod(tmp_path / "dev" / "shm", 0o1777)
        os.chmod(tmp_path, 0o711)
        os.chroot(tmp_path)
        become_nobody()
        with stdevents.Bus(name, interval=0) as bus:
            bus.post("test", "event")
            bus.poll()
            return bus.stats().handled

    assert fork(open_bus).result() > 0
