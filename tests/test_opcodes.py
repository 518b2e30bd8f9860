"""The helper that does something at each step: what a step is, on every interpreter."""

from __future__ import annotations

import sys

from steps import with_steps


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
