"""The helper that does something at each step: what a step is, on every interpreter."""

from __future__ import annotations

import contextlib
import sys

from steps import at_each, interrupt, with_steps


def steps_of(work, **options):
    """How many steps `work()` has."""
    steps = 0

    def count():
        nonlocal steps
        steps += 1

    with_steps(work, count, **options)
    return steps


def test_a_post_has_several_hundred_opcodes(bus):
    """Where none are traced, all that is done "at any opcode" is done at some lines only.

    That was so from Python 3.13 on, and no test failed. PyPy traces opcodes, too.
    """

    def post():
        bus.post("test", "event", "data")

    post()  # what is loaded or kept at the first one is, by now
    lines = steps_of(post)
    assert lines > 20
    assert steps_of(post, opcodes=True) > max(200, 3 * lines)


def test_a_trace_that_was_there_before_is_there_again():
    def trace(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        steps_of(lambda: None, opcodes=True)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


def test_an_exception_at_any_opcode_is_not_handled_for_ever(watchdog):
    """Each later exception of the process would have it as its context, with all its frames."""

    def handle():
        try:
            raise OSError
        except OSError:
            return 1

    for at_step in at_each(interrupt):
        with contextlib.suppress(KeyboardInterrupt, SystemError):  # Python 3.8 may raise the latter
            with_steps(handle, at_step, lambda code: code is handle.__code__, opcodes=True)
        assert sys.exc_info() == (None, None, None)
