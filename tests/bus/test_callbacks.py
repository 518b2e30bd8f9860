"""What can be registered: anything that takes four arguments, and is done when it returns."""

from __future__ import annotations

import functools
import sys

import pytest
from inside_log import callbacks


class Object:
    def method(self, data, event, source, pid):
        pass

    @classmethod
    def of_class(cls, data, event, source, pid):
        pass

    @staticmethod
    def static(data, event, source, pid):
        pass

    async def waits(self, data, event, source, pid):
        pass

    def short(self, data, event, source):
        pass


class Callable:
    def __call__(self, data, event, source, pid):
        pass


class OfClass:
    @classmethod
    def __call__(cls, data, event, source, pid):
        pass


class Static:
    @staticmethod
    def __call__(data, event, source, pid):
        pass


class Waits:
    async def __call__(self, data, event, source, pid):
        pass


class StaticWaits:
    @staticmethod
    async def __call__(data, event, source, pid):
        pass


class Short:
    def __call__(self, data):
        pass


class Any:
    def __getattr__(self, name):
        return self

    def __call__(self, *arguments, **named):
        pass


def with_options(data, event, source, pid, more=None, *, option=1):
    pass


def with_five(first, data, event, source, pid):
    pass


@pytest.mark.parametrize(
    "callback",
    [
        lambda data, event, source, pid: None,
        lambda *arguments: None,
        lambda data, *rest: None,
        with_options,
        functools.partial(with_options, option=2),
        functools.partial(with_options, more=2),
        functools.partial(with_five, 1),
        functools.partial(functools.partial(with_five), 1),
        functools.partial(print, 1),
        Object().method,
        Object.of_class,
        Object.static,
        functools.partial(Object.method, Object()),
        Callable(),
        OfClass(),
        Static(),
        Any(),
        print,
        [].append,
        dict,
        Object,
        functools.lru_cache(maxsize=None)(with_options),
        functools.wraps(with_five)(lambda *arguments: None),
    ],
)
def test_it_can_be_a_handler(callback):
    callbacks.check(callback)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="Placeholder came with 3.14")
def test_a_partial_may_leave_a_place_to_the_event():
    place = functools.Placeholder
    callbacks.check(functools.partial(with_five, place, 1))
    callbacks.check(functools.partial(functools.partial(with_options, place, place, 1), option=2))
    with pytest.raises(TypeError, match="takes "):
        callbacks.check(functools.partial(with_five, place, 1, 2))


@pytest.mark.parametrize(
    ("callback", "takes"),
    [
        (lambda: None, r"\(\)"),
        (lambda data: None, r"\(data\)"),
        (with_five, r"\(first, data, event, source, pid\)"),
        (lambda data, event, source, *, pid: None, r"\(data, event, source, \*, pid\)"),
        (lambda data, event, source, pid, *, must: None, r"\(data, event, source, pid, \*, must\)"),
        (Object().short, r"\(data, event, source\)"),
        (Object.method, r"\(self, data, event, source, pid\)"),
        (Short(), r"\(data\)"),
        (functools.partial(with_options, pid=1), r"\(data, event, source, more, \*, option\)"),
        (functools.partial(with_five, 1, 2), r"\(event, source, pid\)"),
    ],
)
def test_it_is_refused_with_what_it_takes_and_what_it_is_called_with(callback, takes):
    says = rf"takes {takes}, and a handler is called with \(data, event, source, pid\)"
    with pytest.raises(TypeError, match=says):
        callbacks.check(callback)


def only_by_place(data, event, source, pid, more=0, /):
    pass


@pytest.mark.parametrize(
    ("callback", "names"),
    [
        (functools.partial(lambda data, event, source, who: None, pid=3), "pid"),
        (functools.partial(with_options, colour=1, also=2), "also, colour"),
        (functools.partial(only_by_place, more=1), "more"),
    ],
)
def test_a_partial_is_refused_that_names_what_its_function_does_not_take(callback, names):
    """Each call of it would fail."""
    with pytest.raises(TypeError, match=f"is given {names} by name, which its function does not"):
        callbacks.check(callback)
    callbacks.check(functools.partial(lambda *_, **named: None, **callback.keywords))


async def waits(data, event, source, pid):
    pass


@pytest.mark.parametrize(
    "callback",
    [
        waits,
        functools.partial(waits),
        Waits(),
        Object().waits,
        StaticWaits(),
        functools.partial(Waits()),
    ],
)
def test_a_coroutine_function_is_refused_however_it_is_wrapped(callback):
    with pytest.raises(TypeError, match="is a coroutine function"):
        callbacks.check(callback)
    callbacks.check_callable(callback)  # an AsyncBus takes it


def generates(data, event, source, pid):
    yield


async def generates_and_waits(data, event, source, pid):
    yield


@pytest.mark.parametrize("callback", [generates, generates_and_waits])
def test_a_generator_function_is_refused_since_nothing_of_it_would_run(callback):
    for one in (callback, functools.partial(callback)):
        with pytest.raises(TypeError, match="has a yield in it"):
            callbacks.check_callable(one)


@pytest.mark.parametrize("callback", [None, 1, "print", []])
def test_what_cannot_be_called_is_refused(callback):
    with pytest.raises(TypeError, match="is not callable"):
        callbacks.check(callback)
