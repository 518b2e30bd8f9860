"""Something done at the n-th step of the package's own code: at a line of it, or an opcode."""

from __future__ import annotations

import os
import signal
import sys

from children import SECONDS

import stdevents

#: of so many steps a test tries one; each of them with --every-step, as in tox
SAMPLE = 10
PACKAGE = os.path.dirname(stdevents.__file__) + os.sep


def is_ours(code):
    return code.co_filename.startswith(PACKAGE)


def with_steps(work, at_step, traced=is_ours, opcodes=False):
    """Do `work()`, and call `at_step()` before each line (and opcode) of the `traced` code."""

    def local(frame, event, argument):
        if event == "line" or event == "opcode":
            at_step()
        return local

    def trace(frame, event, argument):
        if not traced(frame.f_code):
            return None
        if opcodes:
            frame.f_trace = local  # from Python 3.13 on the next line does nothing without it
            frame.f_trace_opcodes = True
        return local

    before = sys.gettrace()
    if opcodes:
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for it at settrace only
    sys.settrace(trace)
    try:
        return next(_apart(work))
    finally:
        sys.settrace(before)


def _apart(work):
    """A generator has a place of its own for the exception that is being handled.

    One that is raised at an opcode during the entry of a handler would be handled for ever.
    """
    yield work()


def at(step, action):
    """What is to be done at each step, so that `action` is done at the one of that number."""
    left = [step]

    def at_step():
        left[0] -= 1
        if left[0] == 0:
            action()

    return at_step


def sampled(stride=1):
    """From one step that is tried to the next, where with --every-step it is so many."""
    return stride * SAMPLE


def at_each(action, stride=1, all_steps=False):
    """What is to be done at each step, so that `action` is done at the first, the second, …

    Or at each of so many; `sampled`, but with `all_steps`, where each may have its own outcome. One
    after the other, until the work ends before its action. For tests with a `watchdog`.
    """
    stride = stride if all_steps else sampled(stride)
    step, reached = 1 - stride, True

    def act():
        nonlocal reached
        reached = True
        action()

    while reached:
        signal.alarm(SECONDS)  # the watchdog's: it gets on
        step += stride
        reached = False
        yield at(step, act)
    assert step > 5, "that was no work"


def die():
    """As suddenly as can be."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt():
    raise KeyboardInterrupt
