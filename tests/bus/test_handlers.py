"""Who is called for an event, and in which order; and what a handler may do to the others."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import threading

import pytest
from inside import is_of_handlers, levels_with_handlers, lock_of_registrations, under_lock
from steps import at_each, with_steps

import stdevents


class Calls(list):
    """The names of the handlers that were called; `named` makes one of them."""

    def named(self, name):
        def handler(data, event, source, pid):
            self.append(name)

        return handler

    def take(self):
        taken = self[:]
        self.clear()
        return taken


class Owner:
    """Has a handler as a method."""

    def __init__(self, calls, name="method"):
        self.calls = calls
        self.name = name

    def handler(self, data, event, source, pid):
        self.calls.append(self.name)


class CallableOnly:
    """Can be called, and can be held by no weak reference."""

    __slots__ = ()

    def __call__(self, data, event, source, pid):
        raise NotImplementedError

    def method(self, data, event, source, pid):
        raise NotImplementedError


@pytest.fixture
def calls():
    return Calls()


@pytest.fixture
def called(bus, calls):
    """Posts one event, and says whose handlers were called for it."""

    def called(source="cache", event="drop"):
        bus.post(source, event)
        bus.poll()
        return calls.take()

    return called


# -- levels ----------------------------------------------------------------------------------------


def test_the_levels_decide_for_which_events_a_handler_is_called(bus, calls, called):
    bus.register(calls.named("every"))
    bus.register(calls.named("cache"), "cache")
    bus.register(calls.named("two"), "cache", "drop", "fill")
    bus.register(calls.named("one"), "cache", "drop")
    assert called("cache", "drop") == ["every", "cache", "two", "one"]
    assert called("cache", "fill") == ["every", "cache", "two"]
    assert called("cache", "other") == ["every", "cache"]
    assert called("other", "drop") == ["every"]


def test_from_general_to_special_and_weak_before_strong(bus, calls, called):
    """Whatever the order of registration between those groups; within one it counts."""
    held = [calls.named(name) for name in ("weak 3", "weak 2", "weak 1", "weak 1b")]
    bus.register(calls.named("strong 3"), "cache", "drop")
    bus.register(calls.named("strong 2"), "cache")
    bus.register(calls.named("strong 1"))
    bus.register_weak(held[0], "cache", "drop")
    bus.register_weak(held[1], "cache")
    bus.register_weak(held[2])
    bus.register(calls.named("strong 1b"))
    bus.register_weak(held[3])
    assert called() == [
        *("weak 1", "weak 1b", "strong 1", "strong 1b"),
        *("weak 2", "strong 2"),
        *("weak 3", "strong 3"),
    ]


def test_local_events_reach_the_same_handlers(bus, calls):
    bus.register(calls.named("every"))
    bus.register(calls.named("one"), "cache", "drop")
    bus.post_local("cache", "drop")
    bus.poll()
    assert calls == ["every", "one"]


def test_handlers_may_be_registered_before_the_bus_is_open(calls, name):
    bus = stdevents.Bus()
    bus.register(calls.named("early"), "cache")
    bus.configure(name, interval=0)
    bus.post("cache", "drop")
    bus.poll()
    bus.close()
    assert calls == ["early"]


def test_a_handler_registered_after_the_post_is_called(bus, calls):
    """It is the poll that looks who is there."""
    bus.post("cache", "drop")
    bus.register(calls.named("late"), "cache")
    bus.poll()
    assert calls == ["late"]


def test_a_handler_registered_after_events_of_its_kind_is_called(bus, calls, called):
    """What was looked up once is looked up anew."""
    assert called() == []
    bus.register(calls.named("late"), "cache", "drop")
    assert called() == ["late"]


def test_event_names_without_end_are_all_looked_up_right(bus, calls):
    """More of them than are remembered."""
    bus.register(calls.named("cache"), "cache")
    bus.register(calls.named("last"), "cache", "1999")
    for number in range(2000):
        bus.post_local("cache", str(number))
    bus.poll()
    assert calls == ["cache"] * 2000 + ["last"]


def test_the_same_handler_in_two_places_is_called_for_each(bus, calls, called):
    handler = calls.named("twice")
    bus.register(handler)
    bus.register(handler, "cache")
    assert called() == ["twice", "twice"]


def test_a_handler_registered_twice_in_one_place_is_called_once(bus, calls, called):
    handler = calls.named("once")
    owner = Owner(calls)
    for _ in range(2):
        bus.register(handler, "cache")
        bus.register(owner.handler, "cache")
    assert called() == ["once", "method"]
    bus.register(handler, "cache", "drop", "drop")
    assert called() == ["once", "method", "once"]


def test_weak_and_strong_at_one_place_is_strong(bus, calls, called):
    handler = calls.named("handler")
    bus.register_weak(handler)
    bus.register(handler)
    bus.register_weak(handler)
    assert called() == ["handler"]
    del handler
    gc.collect()
    assert called() == ["handler"]


def test_equal_callables_are_not_the_same_handler(bus, calls, called):
    class Equal:
        def __eq__(self, other):
            return True

        __hash__ = None

        def __call__(self, *_):
            calls.append("equal")

    first, second = Equal(), Equal()
    bus.register(first)
    bus.register(second)
    assert called() == ["equal", "equal"]
    assert not bus.unregister(calls.append)
    assert bus.unregister(second)
    assert called() == ["equal"]


@pytest.mark.parametrize("register", ["register", "register_weak"])
def test_registering_returns_the_callback(bus, calls, register):
    handler = calls.named("handler")
    assert getattr(bus, register)(handler, "cache", "drop") is handler


def test_any_callable_is_a_handler(bus, calls, called):
    bus.register(functools.partial(Owner.handler, Owner(calls, "partial")))
    bus.register(Owner(calls).handler)
    bus.register(lambda *_: calls.append("lambda"))
    assert called() == ["partial", "method", "lambda"]


def test_on_registers_what_it_decorates(bus, calls, called):
    @bus.on("cache", "drop", "fill")
    def two(data, event, source, pid):
        calls.append("two")

    @bus.on("cache")
    def cache(data, event, source, pid):
        calls.append("cache")

    @bus.on()
    def every(data, event, source, pid):
        calls.append("every")

    assert called("cache", "fill") == ["every", "cache", "two"]
    assert called("cache", "other") == ["every", "cache"]
    assert two.__name__ == "two"
    assert bus.unregister(two, "cache", "drop", "fill")


# -- unregister ------------------------------------------------------------------------------------


def test_handlers_are_removed_level_by_level(bus, calls, called):
    """As the original: called is exactly what is still registered."""
    every, cache, two, one = handlers = [calls.named(n) for n in ("every", "cache", "two", "one")]
    bus.register(every)
    bus.register(cache, "cache")
    bus.register(two, "cache", "drop", "fill")
    bus.register_weak(one, "cache", "drop")
    assert called() == ["every", "cache", "one", "two"]
    assert bus.unregister(every)
    assert called() == ["cache", "one", "two"]
    assert bus.unregister(cache, "cache")
    assert called() == ["one", "two"]
    assert bus.unregister(two, "cache", "drop")
    assert called() == ["one"]
    assert called("cache", "fill") == ["two"]
    assert bus.unregister(one, "cache", "drop")
    assert called() == []
    assert bus.unregister(two, "cache", "fill")
    assert called("cache", "fill") == []
    assert not any(bus.unregister(handler) for handler in handlers)


def test_unregister_removes_at_its_level_only(bus, calls, called):
    handler = calls.named("handler")
    bus.register(handler, "cache", "drop")
    assert not bus.unregister(handler)
    assert not bus.unregister(handler, "cache")
    assert not bus.unregister(handler, "cache", "fill")
    assert not bus.unregister(handler, "other", "drop")
    assert not bus.unregister(calls.named("handler"), "cache", "drop")
    assert called() == ["handler"]


def test_unregister_of_one_event_among_others_removes_that(bus, calls, called):
    handler = calls.named("handler")
    bus.register(handler, "cache", "drop")
    assert bus.unregister(handler, "cache", "fill", "drop")
    assert called() == []


def test_bound_methods_are_unregistered_by_another_look_at_them(bus, calls, called):
    owner, other = Owner(calls, "owner"), Owner(calls, "other")
    for register in (bus.register, bus.register_weak):
        register(owner.handler, "cache")
        register(other.handler, "cache")
        assert bus.unregister(owner.handler, "cache")
        assert called() == ["other"]
        assert bus.unregister(other.handler, "cache")
        assert called() == []


# -- weak ------------------------------------------------------------------------------------------


def test_a_weak_function_is_called_until_it_is_collected(bus, calls, called):
    handler = calls.named("weak")
    bus.register_weak(handler, "cache", "drop")
    assert called() == ["weak"]
    del handler
    gc.collect()
    assert called() == []


def test_a_weak_method_lives_as_long_as_its_object(bus, calls, called):
    owner = Owner(calls)
    bus.register_weak(owner.handler, "cache")
    gc.collect()
    assert called() == ["method"]
    del owner
    gc.collect()
    assert called() == []


def test_a_handler_that_is_collected_during_an_event_is_not_called_for_it(bus, calls, called):
    held = [calls.named("weak")]

    def drop(data, event, source, pid):
        held.clear()
        gc.collect()

    bus.register(drop)
    bus.register_weak(held[0], "cache")
    assert called() == []


def test_a_collected_one_leaves_the_others_in_their_order(bus, calls, called):
    handlers = [calls.named(str(number)) for number in range(4)]
    for handler in handlers:
        bus.register_weak(handler)
    del handlers[1], handler
    gc.collect()
    again = calls.named("4")
    bus.register_weak(again)
    assert called() == ["0", "2", "3", "4"]


def test_an_event_whose_handlers_were_all_collected_has_none(bus, calls, called):
    handlers = [calls.named("weak"), Owner(calls)]
    bus.register_weak(handlers[0], "cache")
    bus.register_weak(handlers[1].handler, "cache", "drop")
    assert called() == ["weak", "method"]
    before = bus.stats()
    handlers.clear()
    gc.collect()
    assert called() == []
    after = bus.stats()
    assert (after.handled - before.handled, after.unhandled - before.unhandled) == (0, 1)


@pytest.mark.parametrize("then", ["poll", "register"])
def test_nothing_is_kept_of_handlers_that_were_collected(bus, calls, then):
    """As of sessions that each register for an event of their own, and end."""
    before = levels_with_handlers(bus)
    for number in range(100):
        owner = Owner(calls)
        bus.register_weak(owner.handler, "session", f"ended {number}", "ended")
        bus.register_weak(owner.handler)
    del owner
    gc.collect()
    if then == "poll":
        bus.post("session", "new")
        bus.poll()
        assert levels_with_handlers(bus) == before
    else:
        bus.register(calls.named("strong"))
        assert levels_with_handlers(bus) == before + 1


@pytest.mark.parametrize("work", ["poll", "register_weak"])
def test_a_handler_may_be_collected_at_any_step(bus, calls, watchdog, work):
    """By a finaliser, which runs anywhere: the next event finds no handler."""
    held, other = [], calls.named("other")

    def collect():
        held.clear()
        gc.collect()

    for number, at_step in enumerate(at_each(collect)):
        held.append(calls.named("weak"))
        bus.register_weak(held[0], "cache")
        bus.post("cache", "drop")
        arguments = [other, "other", str(number)] if work == "register_weak" else []
        with_steps(functools.partial(getattr(bus, work), *arguments), at_step, is_of_handlers)
        collect()
        bus.poll()
        calls.clear()
        before = bus.stats()
        bus.post("cache", "drop")
        bus.poll()
        after = bus.stats()
        assert calls == []
        assert (after.handled - before.handled, after.unhandled - before.unhandled) == (0, 1)


@pytest.mark.parametrize("work", ["register", "register_weak", "unregister"])
def test_a_finaliser_may_register_and_unregister_at_any_step_of_that(calls, watchdog, work):
    """Of another one: both have their way, whichever reads first what is held."""
    first, gone, added = map(calls.named, ("first", "gone", "added"))
    changes = []

    def change():
        changes.append((bus.register(added, "cache"), bus.unregister(gone, "cache")))

    for at_step in at_each(change):
        bus = stdevents.Bus()
        bus.register(gone, "cache")
        if work == "unregister":
            bus.register(first, "cache")
        assert with_steps(lambda: getattr(bus, work)(first, "cache"), at_step)  # noqa: B023
        held = [one for one in (first, gone, added) if bus.unregister(one, "cache")]
        expected = added if changes else gone
        assert held == ([expected] if work == "unregister" else [first, expected])
        assert changes in ([], [(added, True)])
        changes.clear()


def test_a_handler_may_be_collected_while_another_thread_registers_one(bus, calls, watchdog):
    """And while this one has the lock of the bus: no finaliser waits for anything."""
    held, registers, ends = [calls.named("weak")], threading.Event(), threading.Event()
    bus.register_weak(held[0])

    def register():
        with lock_of_registrations(bus):
            registers.set()
            ends.wait()

    def collect():
        held.clear()
        gc.collect()

    thread = threading.Thread(target=register)
    thread.start()
    registers.wait()
    try:
        under_lock(bus, collect)
    finally:
        ends.set()
        thread.join()
    assert not held


@pytest.mark.skipif(
    sys.implementation.name == "pypy", reason="PyPy has weak references to everything"
)
@pytest.mark.parametrize(
    "callback", [CallableOnly(), CallableOnly().method], ids=["object", "method"]
)
def test_what_cannot_be_held_weakly_is_refused(bus, callback):
    with pytest.raises(TypeError, match="register_weak"):
        bus.register_weak(callback)
    assert not bus.unregister(callback)


# -- bad handlers and places -----------------------------------------------------------------------


@pytest.mark.parametrize("register", ["register", "register_weak"])
@pytest.mark.parametrize("callback", [None, "handler", 7, object()], ids=repr)
def test_what_cannot_be_called_is_no_handler(bus, register, callback):
    with pytest.raises(TypeError, match="not callable"):
        getattr(bus, register)(callback)


@pytest.mark.parametrize("register", ["register", "register_weak"])
def test_a_coroutine_function_is_no_handler(bus, register):
    """Nobody here would await it."""

    async def function(data, event, source, pid):
        raise NotImplementedError

    class Has:
        async def method(self, data, event, source, pid):
            raise NotImplementedError

        __call__ = method

    prefixed = functools.partial(Has.method, "prefix")
    for callback in (function, Has().method, Has(), prefixed, functools.partial(Has())):
        with pytest.raises(TypeError, match="coroutine function"):
            getattr(bus, register)(callback)


def test_what_cannot_take_four_arguments_is_refused_with_what_it_takes(bus):
    """Not at each event, when nobody looks."""

    def one(message):
        raise NotImplementedError

    with pytest.raises(TypeError, match=r"takes \(message\).* \(data, event, source, pid\)"):
        bus.register(one, "cache")


@pytest.mark.parametrize("method", ["register", "register_weak", "unregister"])
@pytest.mark.parametrize(
    ("place", "error", "named"),
    [
        ((None, "drop"), ValueError, "source"),
        (("",), ValueError, "source"),
        ((7,), TypeError, "source"),
        ((b"cache", "drop"), TypeError, "source"),
        (("cache", ""), ValueError, "event"),
        (("cache", "drop", None), TypeError, "event"),
        (("cache", ["drop"]), TypeError, "event"),
    ],
    ids=repr,
)
def test_a_bad_place_is_refused_and_named(bus, calls, called, method, place, error, named):
    handler = calls.named("handler")
    with pytest.raises(error, match=named):
        getattr(bus, method)(handler, *place)
    assert called() == []


# -- errors of handlers ----------------------------------------------------------------------------


def test_a_failing_handler_is_logged_with_the_functions_it_was_in(bus, calls, called, caplog):
    """G6: and counted; the other handlers and the next events go on."""

    def outer_function(data, event, source, pid):
        def inner_function():
            raise LookupError("of the handler")

        inner_function()

    bus.register(calls.named("before"), "cache")
    bus.register(outer_function, "cache")
    bus.register(calls.named("after"), "cache")
    assert called() == ["before", "after"]
    assert called("cache", "next") == ["before", "after"]
    assert bus.stats().handler_errors == 2
    first, second = caplog.records
    assert (first.name, first.levelname) == ("stdevents", "ERROR")
    pid = bus.workers()[0].pid
    assert first.getMessage() == f"event callback failed; source=cache, event=drop, pid={pid}"
    assert second.getMessage() == f"event callback failed; source=cache, event=next, pid={pid}"
    for name in ("outer_function", "inner_function", "LookupError: of the handler"):
        assert name in caplog.text


def test_a_failing_handler_of_a_local_event_is_logged_too(bus, calls, caplog):
    """G6."""
    bus.register(lambda data, *_: data["key"], "cache")
    bus.register(calls.named("after"), "cache")
    bus.post_local("cache", "drop")
    bus.poll()
    assert calls == ["after"]
    (record,) = caplog.records
    assert record.getMessage() == "event callback failed; source=cache, event=drop, pid=None"
    assert record.exc_info[0] is TypeError
    assert bus.stats().handler_errors == 1


def test_a_coroutine_in_disguise_is_closed_logged_and_counted(bus, calls, called, caplog):
    """G6: a decorator hides it from `register`; that nobody awaits it is no secret for long."""
    made = []

    async def drop(data, event, source, pid):
        raise NotImplementedError

    @functools.wraps(drop)
    def traced(*arguments):
        made.append(drop(*arguments))
        return made[-1]

    bus.register(traced, "cache")
    bus.register(calls.named("after"), "cache")
    assert called() == ["after"]
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED
    assert bus.stats().handler_errors == 1
    (record,) = caplog.records
    assert record.getMessage().startswith("event callback failed; source=cache, event=drop")
    assert "aio" in str(record.exc_info[1])


# -- registering from inside a handler -------------------------------------------------------------


def test_what_a_handler_registers_is_called_from_the_next_event_on(bus, calls, called):
    late = calls.named("late")
    bus.register(lambda *_: bus.register(late, "cache"))
    bus.post("cache", "first")
    bus.post("cache", "second")
    bus.poll()
    assert calls.take() == ["late"]


def test_what_a_handler_unregisters_is_called_for_this_event_still(bus, calls):
    other = calls.named("other")
    bus.register(lambda *_: bus.unregister(other, "cache"))
    bus.register(other, "cache")
    bus.post("cache", "first")
    bus.post("cache", "second")
    bus.poll()
    assert calls == ["other"]


def test_a_handler_may_unregister_itself(bus, calls, called):
    def once(data, event, source, pid):
        calls.append("once")
        assert bus.unregister(once, "cache", "drop")

    bus.register(once, "cache", "drop")
    bus.register(calls.named("other"), "cache", "drop")
    assert called() == ["once", "other"]
    assert called() == ["other"]


def test_on_without_its_parentheses_is_refused(bus):
    with pytest.raises(
        TypeError, match=r"handler.* stands where the source belongs; write @on\(\)"
    ):

        @bus.on
        def handler(data, event, source, pid):
            raise NotImplementedError


@pytest.mark.parametrize("arguments", [("",), (7,), ("cache", ""), (None, "drop")])
def test_on_refuses_a_bad_source_or_event_at_its_own_line(bus, arguments):
    with pytest.raises((TypeError, ValueError), match=r"source|event"):
        bus.on(*arguments)


@pytest.mark.parametrize("register", ["on", "register", "unregister", "event_list"])
def test_events_given_as_a_list_are_told_how_they_are_given(bus, register):
    """`*events` is easily overlooked."""
    calls = {
        "on": lambda events: bus.on("cache", events),
        "register": lambda events: bus.register(print, "cache", events),
        "unregister": lambda events: bus.unregister(print, "cache", events),
        "event_list": lambda events: stdevents.event_list("cache", events),
    }
    with pytest.raises(TypeError) as caught:
        calls[register](["drop", "fill"])
    assert str(caught.value) == (
        "event: ['drop', 'fill'] is a list, not a str; "
        "give the events one after the other: 'cache', 'drop', 'fill'"
    )
