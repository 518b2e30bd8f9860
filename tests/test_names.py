"""`event_list`: the names of a source and its events as attributes."""

from __future__ import annotations

import copy
import pickle

import pytest

import stdevents


@pytest.fixture
def cache():
    return stdevents.event_list("cache", "drop", "refresh")


def test_names_are_attributes(cache):
    assert (cache._source, cache.drop, cache.refresh) == ("cache", "drop", "refresh")


def test_a_typo_lists_the_known_names(cache):
    with pytest.raises(AttributeError, match=r"'cache' has no event 'dorp'.*: drop, refresh"):
        _ = cache.dorp


def test_it_is_read_only(cache):
    with pytest.raises(AttributeError, match="fixed"):
        cache.drop = "other"
    with pytest.raises(AttributeError, match="fixed"):
        del cache.drop
    assert cache.drop == "drop"


def test_its_events_can_be_iterated(cache):
    assert list(cache) == ["drop", "refresh"]


def test_its_repr_is_how_it_is_made(cache):
    assert repr(cache) == "event_list('cache', 'drop', 'refresh')"


def test_any_name_may_be_got_at_with_getattr():
    names = stdevents.event_list("a source", "not an identifier", "class", "é")
    assert getattr(names, "not an identifier") == "not an identifier"
    assert list(names) == ["not an identifier", "class", "é"]


def test_a_source_may_have_no_events():
    assert list(stdevents.event_list("cache")) == []


def test_it_can_be_copied_and_pickled(cache):
    for twin in (copy.copy(cache), copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert (twin._source, list(twin)) == ("cache", ["drop", "refresh"])


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (("",), ValueError),
        (("cache", ""), ValueError),
        (("cache", "_source"), ValueError),
        (("cache", "_drop"), ValueError),
        (("cache", "drop", "drop"), ValueError),
        ((None,), TypeError),
        (("cache", 7), TypeError),
        (("cache", b"drop"), TypeError),
        (("cache", ["drop"]), TypeError),
    ],
    ids=repr,
)
def test_bad_names_are_refused(names, error):
    with pytest.raises(error, match="^(source|event)"):
        stdevents.event_list(*names)


def test_the_bus_has_a_list_of_its_own_events():
    assert stdevents.events._source == "stdevents"
    assert list(stdevents.events) == ["started", "stopping", "lost", "asked", "answered"]
    assert isinstance(stdevents.events, stdevents.EventList)
