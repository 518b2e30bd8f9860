"""Records: what `post` writes for an event, and what a reader makes of it."""

from __future__ import annotations

import json
import os
import sys

import pytest
from inside_log import codec, prefixes_kept

from stdevents import EncodeError


@pytest.fixture(autouse=True)
def this_process():
    codec.forget()
    yield
    codec.forget()


def test_a_record_is_json_and_a_comma():
    text = codec.encode("s", "e", {"a": [1, "ö"]})
    assert text == f'[{os.getpid()},"s","e",{{"a":[1,"ö"]}}],'.encode()
    assert codec.encode("s", "e", None, 7).endswith(b',null,"7"],')


def test_records_of_a_run_are_decoded_together():
    texts = [codec.encode("s", "e", number, "key" if number % 2 else None) for number in range(5)]
    values, end = codec.from_json("[" + b"".join(texts).decode()[:-1] + "]", 0)
    assert [value[3] for value in values] == list(range(5))
    assert end == sum(map(len, texts)) + 1


def test_a_fork_writes_its_own_pid(monkeypatch):
    """G7: the text before the data is kept, with the pid in it."""
    codec.encode("s", "e", 1)
    monkeypatch.setattr(os, "getpid", lambda: 77)
    codec.forget()
    assert codec.encode("s", "e", 1) == b'[77,"s","e",1],'


def test_names_that_are_made_up_without_end_are_not_all_kept():
    for number in range(5000):
        codec.encode("s", f"e{number}", None)
    assert codec.encode("s", "e1", None) == b'[%d,"s","e1",null],' % os.getpid()
    assert prefixes_kept() <= codec.REMEMBERED


@pytest.mark.parametrize(
    "parts",
    [
        {"a": 1},
        "abcd",
        [],
        [1, "s", "e"],
        [True, "s", "e", 1],
        ["1", "s", "e", 1],
        [1, 2, "e", 1],
        [1, "s", None, 1],
        [1, "s", "e", 1, None],
        [1, "s", "e", 1, 7],
        [1, "s", "e", 1, "k", "host"],
        [1, "s", "e", 1, 5, "host", "entry"],
        [1, "s", "e", 1, None, None, "entry"],
        [1, "s", "e", 1, "k", "host", "entry", 1],
    ],
)
def test_what_has_not_the_shape_of_an_event_is_refused(parts):
    with pytest.raises(ValueError):
        codec.decode(json.dumps(parts).encode() + b",")


ONE = b'[1,"s","e",1],'


@pytest.mark.parametrize("text", [b"", b",", b"[1,", b"\xff", b"x", ONE + ONE])
def test_what_is_not_one_json_value_is_refused(text):
    with pytest.raises(ValueError):
        codec.decode(text)


def nested(levels):
    data = 0
    for level in range(levels):
        data = [data] if level % 2 else {"a": data}
    return data


def test_the_deepest_data_goes_through_and_one_level_more_does_not():
    text = codec.encode("s", "e", nested(codec.DEEPEST))
    assert codec.decode(text)[3] == nested(codec.DEEPEST)
    with pytest.raises(EncodeError, match="deeper than 256 levels"):
        codec.encode("s", "e", nested(codec.DEEPEST + 1))


def test_many_brackets_that_are_not_nested_are_no_depth():
    data = [[], {}] * 300 + ["[{" * 400]
    assert codec.decode(codec.encode("s", "e", data))[3] == data


def test_what_nobody_could_have_posted_is_refused_for_its_depth():
    """Not RecursionError, which would stop the reader there for ever."""
    text = b'[1,"s","e",' + b"[" * 100_000 + b"]" * 100_000 + b"],"
    with pytest.raises(ValueError, match="deeper than 256"):
        codec.decode(text)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (float("nan"), "data is nan"),
        ({"a": [1, {2}]}, r"data\['a'\]\[1\] is of type set"),
        ({"a": "\ud800"}, r"data\['a'\] has a lone surrogate"),
        ({(1,): 2}, "data has a key of type tuple"),
        ([10**4300], r"data\[0\] has an int of more than 4300 digits"),
        ({10**4300: 1}, "data has an int of more than 4300 digits"),
        ({10**4300: [{1}]}, "data has an int of more than 4300 digits"),
    ],
    ids=["nan", "set", "surrogate", "key", "int", "int as key", "below an int as key"],
)
def test_data_that_is_not_json_is_refused_with_its_place_not_its_value(data, says):
    with pytest.raises(EncodeError, match=f"^event 'e' of source 's': {says}"):
        codec.encode("s", "e", data)


@pytest.mark.parametrize("limit", [0, 4300, 5000])
def test_an_int_that_others_may_not_read_is_refused_where_this_process_may(limit):
    """It would be lost to each worker that has Python's default limit."""
    before = getattr(sys, "get_int_max_str_digits", int)()
    set_limit = getattr(sys, "set_int_max_str_digits", int)
    set_limit(limit)
    try:
        for data in (10**4300, [{"a": -(10**4300)}], {"a": "x", "b": 10**4400}):
            with pytest.raises(EncodeError, match="an int of more than 4300 digits"):
                codec.encode("s", "e", data)
        for data in ("1" * 5000, {"1" * 5000: '"' * 5000}, [10**4299, 10**4299]):
            assert codec.decode(codec.encode("s", "e", data))[3] == data
    finally:
        set_limit(before)


@pytest.mark.parametrize("unique", [True, 1.5, b"k", ()])
def test_a_key_is_a_str_or_an_int(unique):
    with pytest.raises(TypeError, match="^unique: "):
        codec.encode("s", "e", 1, unique)
