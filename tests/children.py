"""Forked children of a test: what they do is a function, what they say goes through a pipe."""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import traceback

import pytest

SECONDS = 60  # in which nothing happens: a test, or a child of one, counts as hanging then


class Child:
    """A child that does `work(parent, *arguments)`; its `parent` has `tell` and `hear`."""

    def __init__(self, work, *arguments):
        ours, theirs = multiprocessing.Pipe()
        self.status = None  # what waitpid said, once it is dead
        self.pid = self._fork()
        if not self.pid:
            ours.close()
            _live(theirs, work, arguments)
        theirs.close()
        self._pipe = ours

    _fork = staticmethod(os.fork)

    def say(self, what="go on"):
        """Send the child something to hear."""
        self._pipe.send(what)

    def hear(self):
        """Wait for the next thing that it tells; fails if it has failed, or died."""
        try:
            kind, what = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            pytest.fail(f"the child died: status {self.wait()}")
        if kind == "failed":
            pytest.fail(f"the child failed:\n{what}")
        return what

    def hear_new(self):
        """All that it has told up to now."""
        told = []
        while self._pipe.poll():
            told.append(self.hear())
        return told

    def has_told(self):
        """Is there something that it has told, and that was not heard yet?"""
        return self._pipe.poll()

    def hear_all(self):
        """All that it has told until it died, when nobody expects it to end well."""
        told = []
        try:
            while True:
                kind, what = self._pipe.recv()
                assert kind == "told", what
                told.append(what)
        except (EOFError, ConnectionResetError):
            self.wait()
            return told

    def result(self):
        """Wait for its end, which has to be a good one, and what its work returned."""
        result = self.hear()
        assert self.wait() == 0
        return result

    def wait(self):
        """Wait for its death; its status as `os.waitpid` says it."""
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
        return self.status

    def kill(self):
        """End it at once, and wait until it is dead."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def stop(self):
        """Stop it, and wait until it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        self.wait_until_stopped()

    def wait_until_stopped(self):
        """Wait until it stands still, by its own or anybody's signal."""
        assert os.WIFSTOPPED(os.waitpid(self.pid, os.WUNTRACED)[1])

    def go_on(self):
        """Let it go on after a stop."""
        os.kill(self.pid, signal.SIGCONT)


CAN_FORK_IN_C = hasattr(ctypes, "PyDLL")
WHY_NOT_IN_C = "this interpreter lets go of itself while C code runs"
in_c = pytest.mark.skipif(not CAN_FORK_IN_C, reason=WHY_NOT_IN_C)


def fork_in_c():
    """`os.fork`, but by C code, without Python's hooks, as NGINX Unit does."""
    pid = ctypes.PyDLL(None).fork()
    if pid < 0:  # else to kill this child would be to kill all processes
        raise OSError("fork failed")
    return pid


class ChildOfC(Child):
    """A child that C code forks."""

    @staticmethod
    def _fork():
        if not CAN_FORK_IN_C:
            pytest.skip(WHY_NOT_IN_C)
        return fork_in_c()


class Parent:
    """The parent, as its child sees it; a child that tells and hears does not hang."""

    def __init__(self, pipe):
        self._pipe = pipe

    def tell(self, what=None):
        """Send it something to hear."""
        signal.alarm(SECONDS)
        self._pipe.send(("told", what))

    def fileno(self):
        """The number of the file by which it is heard."""
        return self._pipe.fileno()

    def close_other_files(self):
        """As who makes a daemon does; the numbers are those of other files soon."""
        logging.getLogger().handlers.clear()  # pytest's, of which one has a file
        sys.stderr = sys.__stderr__  # pytest's has a number above 2
        os.closerange(3, self.fileno())
        os.closerange(self.fileno() + 1, 256)

    def hear(self):
        """Wait for the next thing that it says."""
        heard = self._pipe.recv()
        signal.alarm(SECONDS)
        return heard


def _live(pipe, work, arguments):
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        pipe.send(("result", work(Parent(pipe), *arguments)))
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))
    finally:
        # Not even the exit handlers: pytest's own are not the child's business.
        os._exit(0)


threads_are_ours = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
