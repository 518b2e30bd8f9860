"""An open file of ours is known again by its mark."""

from __future__ import annotations

import os

from inside import OpenFile


def test_a_fork_before_the_mark_leaves_the_file_to_both(tmp_path, fork):
    """G7, G9: by a signal handler. Else one of them takes it for another's, and never closes it."""
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    def work(parent):
        file = OpenFile(number)
        parent.tell()
        parent.hear()
        return file.is_ours()

    child = fork(work)
    child.hear()
    file = OpenFile(number)
    child.say()
    assert child.result()
    assert file.is_ours()
    file.close()


def test_another_file_of_that_number_is_not_ours(tmp_path):
    """Nor is it closed."""
    file = OpenFile(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))
    other = os.open(tmp_path / "file", os.O_RDWR)
    os.dup2(other, file.number)
    number = file.number
    assert not file.is_ours()
    file.close()
    os.close(number)
    os.close(other)
