"""A str of a class of its own is the text that it is, whatever `str` says of it.

The members of a `class X(str, enum.Enum)` are such: `str` gives the member's name.
"""

from __future__ import annotations

import contextlib
import enum

import pytest
from inside import names, settings_of
from waiting import LONG

import stdevents


class Other(str):
    """One that is told apart by no comparison, and says what is no good name."""

    def __str__(self):
        return "../other"

    __repr__ = __str__

    def __format__(self, _):
        return "../other"


def member(text):
    return enum.Enum("Text", {"MEMBER": text}, type=str).MEMBER


class Number(enum.IntEnum):
    SEVEN = 7


KINDS = pytest.mark.parametrize("kind", [member, Other], ids=["member", "other"])


@KINDS
def test_a_bus_is_named_by_the_text(name, kind):
    with contextlib.closing(stdevents.Bus(kind(name), interval=0)) as bus:
        assert name in names()
        assert repr(bus) == f"<Bus {name!r}>"
        bus.configure(kind(name), timeout=1)


@KINDS
@pytest.mark.parametrize(
    ("option", "value"),
    [("size", "64k"), ("overflow", "wait"), ("start", "oldest"), ("role", "listener")],
)
def test_an_option_is_the_text(name, kind, option, value):
    found = []
    for given in (value, kind(value)):
        with contextlib.closing(stdevents.Bus(name, interval=0, **{option: given})) as bus:
            found.append(settings_of(bus)[option])
    assert found[1] == found[0]
    assert type(found[1]) is type(found[0])


@pytest.mark.parametrize(
    ("first", "second"),
    [("key", member("key")), ("key", Other("key")), (7, Number.SEVEN), ("7", Number.SEVEN)],
    ids=["member", "other", "number", "digits"],
)
def test_equal_keys_of_two_classes_are_one_key(bus, seen, first, second):
    """G4."""
    bus.configure(timeout=LONG)
    bus.post("test", "event", 1, unique=first)
    bus.post_many([("test", "event", 2, second)])
    bus.poll()
    assert seen == [("test", "event", 1)]


@KINDS
@pytest.mark.parametrize("post", ["post", "post_local"])
def test_handlers_get_the_texts(bus, seen, kind, post):
    source, event = kind("test"), kind("event")
    told = []
    bus.register(lambda *arguments: told.append(arguments[1:3]), source, event)
    getattr(bus, post)(source, event, 1)
    bus.poll()
    assert seen == [("test", "event", 1)]
    assert told == [("event", "test")]
    assert {type(one) for one in told[0]} == {str}


@KINDS
def test_an_event_list_has_the_texts(kind):
    listed = stdevents.event_list(kind("test"), kind("event"))
    assert repr(listed) == "event_list('test', 'event')"
    assert {type(listed._source), type(listed.event)} == {str}


@KINDS
def test_questions_and_leads_go_by_the_text(bus, kind):
    bus.answer(kind("test"), kind("question"))(lambda *_: "answer")
    with pytest.raises(ValueError, match="answerer for event 'question' of source 'test'"):
        bus.answer("test", "question")(print)
    (answer,) = bus.ask(kind("test"), kind("question")).values()
    assert answer.value == "answer"
    assert bus.lead(kind("task"))
    assert not bus.lead("task", give_up=True)


def test_a_name_that_is_no_good_one_is_refused_whatever_it_says():
    class Good(str):
        def __str__(self):
            return "good"

    with pytest.raises(ValueError, match="^name: "):
        stdevents.Bus(Good("../bad"), interval=0)
    with pytest.raises(ValueError, match="^source: it is empty"):
        stdevents.event_list(Good(""))
