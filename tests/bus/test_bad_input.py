"""What is refused, by which error, and that a refusal changes nothing.

A message names what is wrong and where. Of the payload it holds at most the path to the fault.
"""

from __future__ import annotations

import contextlib
import enum
import math
import os
import pickle
import threading

import pytest
from inside import length_of_text, memory_name_of, settings_of

import stdevents

HUGE = 10**400  # no float is that large


# -- options ---------------------------------------------------------------------------------------

WRONG_VALUES = [
    *(("size", value) for value in (0, -1, 1023, (1 << 40) + 1, HUGE, "0", "1023", "1025g")),
    *(("size", value) for value in ("", "m", "-1m", "1.5m", "1 m", "1t", "0x1000", "١m", "9" * 16)),
    *(("size", value) for value in ("1kbit", "1ib", "mb", "1bb", "1 MB", "4096bytes")),
    *(("timeout", value) for value in (0, 0.0, -1, -0.001, math.nan, math.inf, HUGE)),
    *(("interval", value) for value in (-1, -0.001, math.nan, math.inf, -math.inf, 1e300, HUGE)),
    *(("wait_interval", value) for value in (0, -1, math.nan, math.inf, HUGE)),
    *(("wait_max", value) for value in (0, -1, math.nan, math.inf, HUGE)),
    ("shm_retries", -1),
    *(("overflow", value) for value in ("", "block", "DROP")),
    *(("start", value) for value in ("", "old", "New")),
]
WRONG_TYPES = [
    *(("size", value) for value in (None, True, 4096.0, b"1m", [4096])),
    *(("timeout", value) for value in (None, True, "2", 1j)),
    *(("interval", value) for value in (None, False, "1", [1])),
    *(("wait_interval", value) for value in (None, True, "0.01")),
    *(("wait_max", value) for value in (None, True, "0.5")),
    *(("shm_retries", value) for value in (None, True, 1.0, "999")),
    *(("overflow", value) for value in (None, 0, b"drop", ["drop"])),
    *(("start", value) for value in (None, 0, b"new")),
]
WRONG_NAMES = ["", " ", "a b", "a/b", "../a", ".a", "-a", "a\n", "a\0b", "ä", "x" * 101]


def short(value):
    return ascii(value)[:20]


@pytest.mark.parametrize(("option", "value"), WRONG_VALUES, ids=short)
def test_an_option_out_of_range_is_named(name, option, value):
    with pytest.raises(ValueError, match=f"^{option}: "):
        stdevents.Bus(name, **{option: value})


@pytest.mark.parametrize(("option", "value"), WRONG_TYPES, ids=short)
def test_an_option_of_the_wrong_type_is_named(name, option, value):
    with pytest.raises(TypeError, match=f"^{option}: "):
        stdevents.Bus(name, **{option: value})


@pytest.mark.parametrize(("option", "value"), WRONG_VALUES, ids=short)
def test_an_open_bus_refuses_a_bad_option_and_keeps_what_it_has(bus, option, value):
    """None of the options of that call is changed."""
    before = settings_of(bus)
    good = {"shm_retries": 1, "interval": 0.5, "timeout": 1.5, option: value}
    with pytest.raises(ValueError, match=f"^{option}: "):
        bus.configure(**good)
    assert settings_of(bus) == before
    assert bus.post("test", "event") == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("size", value) for value in (1024, 1025, "1024", "1k", "2K", " 1m ", "0001024")),
        *(("size", value) for value in ("1024b", "1KiB", "4kb")),
        *(("timeout", value) for value in (1, 0.001, threading.TIMEOUT_MAX)),
        *(("wait_interval", value) for value in (1, 0.001, threading.TIMEOUT_MAX)),
        *(("wait_max", value) for value in (1, 0.001, threading.TIMEOUT_MAX)),
        ("interval", threading.TIMEOUT_MAX),
        *(("shm_retries", value) for value in (0, 1 << 70)),
        ("overflow", "drop"),
        *(("start", value) for value in ("new", "oldest")),
    ],
    ids=short,
)
def test_the_edges_of_an_option_are_accepted(name, option, value):
    with contextlib.closing(stdevents.Bus(name, **{"interval": 0, option: value})) as bus:
        assert bus.post("test", "event") == 2
        bus.poll()


def test_an_unknown_option_is_refused(name):
    with pytest.raises(TypeError, match="intervall"):
        stdevents.Bus(name, intervall=0)


def test_options_are_given_by_name(name):
    with pytest.raises(TypeError, match="positional"):
        stdevents.Bus().configure(name, "1m")


@pytest.mark.parametrize("shm", WRONG_NAMES, ids=short)
def test_a_name_that_no_bus_can_have_is_refused(shm):
    with pytest.raises(ValueError, match="^name: "):
        stdevents.Bus(shm)
    assert not stdevents.configured()


@pytest.mark.parametrize("shm", [7, True, b"name", ["name"]], ids=repr)
def test_a_name_that_is_no_str_is_refused(shm):
    with pytest.raises(TypeError, match="^name: "):
        stdevents.Bus().configure(shm)


def test_the_first_configure_needs_a_name():
    with pytest.raises(ValueError, match="^name: "):
        stdevents.Bus().configure(interval=0)


def test_options_without_a_name_are_refused():
    with pytest.raises(ValueError, match="interval"):
        stdevents.Bus(interval=0)


@pytest.mark.parametrize("extra", ["", ".:@+-_09azAZ", "x" * 60])
def test_a_name_of_all_good_characters_is_accepted(name, extra):
    with contextlib.closing(stdevents.Bus(f"{name}{extra}", interval=0)) as bus:
        assert bus.configured()


def test_the_longest_name_is_accepted(name):
    longest = name.ljust(100, "x")
    with contextlib.closing(stdevents.Bus(longest, interval=0)) as bus:
        assert len(memory_name_of(longest)) < 31  # macOS
        assert bus.configured()


def test_another_size_than_the_bus_has_is_told_in_the_log(bus, name, fork, caplog):
    """It counts when the bus is created, and a reload of the workers does not create it again."""

    def joins(parent, options):
        bus.close()
        caplog.clear()
        stdevents.Bus(name, interval=0, **options).close()
        return caplog.messages

    asked_for = fork(joins, {"size": "4m"}).result()
    assert asked_for == [
        f"bus {name!r} already exists with size={1 << 20}; size={4 << 20} is ignored until every "
        "worker has closed it"
    ]
    assert fork(joins, {"size": "1024k"}).result() == fork(joins, {}).result() == []
    caplog.clear()
    bus.configure(size="1m", timeout=3)
    assert not caplog.messages
    bus.configure(size="4m")
    assert caplog.messages == asked_for


@pytest.mark.parametrize(
    ("size", "count"),
    [("1MB", 1 << 20), ("1mib", 1 << 20), ("64KiB", 1 << 16), ("64kB", 1 << 16), ("2048B", 2048)],
)
def test_a_size_may_have_the_units_that_people_write(name, size, count):
    """In powers of 1024, as with "1m": no two spellings of one number are two sizes."""
    with stdevents.Bus(name, interval=0, size=size) as bus:
        assert settings_of(bus)["size"] == count


def test_another_shm_is_refused_while_the_bus_is_open(bus, name):
    with pytest.raises(stdevents.StdeventsError, match=f"{name}-2"):
        bus.configure(f"{name}-2", timeout=1)
    with pytest.raises(ValueError, match="^name: "):
        bus.configure("no name")
    assert settings_of(bus)["timeout"] == 2
    assert bus.post("test", "event") == 2


def test_after_a_refused_configure_a_good_one_works(name):
    bus = stdevents.Bus()
    with pytest.raises(ValueError, match="timeout"):
        bus.configure(name, timeout=0)
    assert not bus.configured()
    with contextlib.closing(bus.configure(name, interval=0)):
        assert bus.post("test", "event") == 2


# -- source, event, unique -------------------------------------------------------------------------


@pytest.mark.parametrize("post", ["post", "post_local"])
@pytest.mark.parametrize(
    ("source", "event", "error", "named"),
    [
        ("", "event", ValueError, "source"),
        ("source", "", ValueError, "event"),
        *((value, "event", TypeError, "source") for value in (None, 7, b"source", ["source"])),
        *(("source", value, TypeError, "event") for value in (None, 7, b"event", ("event",))),
    ],
    ids=repr,
)
def test_a_bad_source_or_event_is_named(bus, seen, post, source, event, error, named):
    with pytest.raises(error, match=f"^{named}: "):
        getattr(bus, post)(source, event)
    assert_nothing_happened(bus, seen)


@pytest.mark.parametrize(
    ("unique", "error"),
    [
        ("", ValueError),
        *((value, TypeError) for value in (True, False, 1.5, b"key", ["key"], object)),
    ],
    ids=repr,
)
def test_a_bad_unique_is_named(bus, seen, unique, error):
    with pytest.raises(error, match="^unique: "):
        bus.post("test", "event", unique=unique)
    assert_nothing_happened(bus, seen)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("s\ud800", "event"), "source has a lone surrogate"),
        (("source", "\udfffe"), "event has a lone surrogate"),
        (("source", "event", None, "k\udc00"), "unique has a lone surrogate"),
    ],
    ids=["source", "event", "unique"],
)
def test_a_lone_surrogate_in_a_name_is_refused(bus, seen, arguments, named):
    with pytest.raises(stdevents.EncodeError, match=named) as caught:
        bus.post(*arguments)
    str(caught.value).encode()
    assert_nothing_happened(bus, seen)


def assert_nothing_happened(bus, seen):
    """The post that was refused has posted nothing, and taken no id."""
    assert (bus.stats().last_id, bus.stats().posted) == (1, 1)
    bus.poll()
    assert seen == []
    assert bus.post("test", "next", 1) == 2
    bus.poll()
    assert seen == [("test", "next", 1)]


# -- data ------------------------------------------------------------------------------------------

SECRET = "the payload"


def circular():
    data = {"list": [SECRET, {}]}
    data["list"][1]["again"] = data
    return data


def deep(levels):
    data = SECRET
    for level in range(levels):
        data = [data] if level % 2 else {"next": data}
    return data


class Unknown:
    def __repr__(self):
        return SECRET


class Colour(enum.Enum):
    RED = SECRET


def inside(value):
    return {"list": [SECRET, {"key": value}], "after": SECRET}


HERE = "data['list'][1]['key'] "

NOT_JSON = [
    (inside(Unknown()), HERE + "is of type Unknown"),
    (inside(SECRET.encode()), HERE + "is of type bytes"),
    (inside({SECRET}), HERE + "is of type set"),
    (inside(Colour.RED), HERE + "is of type Colour"),
    (inside(text for text in [SECRET]), HERE + "is of type generator"),
    (inside(math.nan), HERE + "is nan"),
    (inside(math.inf), HERE + "is inf"),
    (inside(-math.inf), HERE + "is -inf"),
    (inside(SECRET + "\ud800"), HERE + "has a lone surrogate"),
    (inside({SECRET: 1, "\udc80": 2}), HERE + "has a key with a lone surrogate"),
    (inside({(1, SECRET): 2}), HERE + "has a key of type tuple"),
    (inside({SECRET.encode(): 2}), HERE + "has a key of type bytes"),
    (inside({math.nan: SECRET}), HERE + "has the key nan"),
    (inside({frozenset([SECRET]): SECRET}), HERE + "has a key of type frozenset"),
    (circular(), "data['list'][1]['again'] contains itself"),
    (Unknown(), "data is of type Unknown"),
    (math.nan, "data is nan"),
    ("\ud800", "data has a lone surrogate"),
    ({"\n" * 50: [Unknown()]}, "data['\\n"),
    (deep(257), "data is nested deeper than 256 levels"),
    (deep(100_000), "data is nested deeper than 256 levels"),
]


@pytest.mark.parametrize(("data", "where"), NOT_JSON, ids=[where for _, where in NOT_JSON])
def test_data_that_is_not_json_is_refused_and_the_place_named(bus, seen, data, where):
    """And nothing of the data is in the message (G6)."""
    with pytest.raises(stdevents.EncodeError) as caught:
        bus.post("cache", "drop", data)
    message = str(caught.value)
    assert message.startswith(f"event 'drop' of source 'cache': {where}")
    assert SECRET not in message
    assert len(message) < 200
    assert_nothing_happened(bus, seen)


def test_data_of_256_levels_can_be_posted(bus, seen):
    bus.post("test", "event", deep(256))
    bus.poll()
    assert seen == [("test", "event", deep(256))]


def test_brackets_in_text_are_no_levels(bus, seen):
    data = ["[{" * 1000, {'"]\\"[' * 500: "\\"}]
    bus.post("test", "event", data)
    bus.poll()
    assert seen == [("test", "event", data)]


def test_many_lists_beside_each_other_are_no_levels(bus, seen):
    data = [[] for _ in range(1000)]
    bus.post("test", "event", data)
    bus.poll()
    assert seen == [("test", "event", data)]


def test_one_list_in_two_places_is_not_circular(bus, seen):
    shared = [1]
    bus.post("test", "event", [shared, {"again": shared}])
    bus.poll()
    assert seen == [("test", "event", [[1], {"again": [1]}])]


def test_local_data_need_not_be_json(bus, seen):
    data = circular()
    bus.post_local("test", "event", data)
    bus.poll()
    assert seen[0][2] is data


def test_data_larger_than_the_ring_is_refused_with_its_size_and_the_limit(name):
    """To the byte; G6."""
    frame = length_of_text("s", "e", "")
    with contextlib.closing(stdevents.Bus(name, interval=0, size=4096)) as bus:
        with pytest.raises(stdevents.PayloadTooLarge) as caught:
            bus.post("s", "e", "x" * (4097 - frame))
        assert (caught.value.size, caught.value.limit) == (4097, 4096)
        assert "4097" in str(caught.value)
        assert "4096" in str(caught.value)
        assert "xxx" not in str(caught.value)
        assert name in str(caught.value)
        assert (bus.stats().last_id, bus.stats().posted) == (1, 1)
        assert bus.post("s", "e", "x" * (4096 - frame)) == 2


def test_the_size_is_that_in_utf_8(name):
    with contextlib.closing(stdevents.Bus(name, interval=0, size=4096)) as bus:
        with pytest.raises(stdevents.PayloadTooLarge) as caught:
            bus.post("s", "e", "€" * 2000)
        assert caught.value.size == 6000 + length_of_text("s", "e", "")


def test_a_refused_post_costs_no_other_event(bus, seen):
    """G2, G3."""
    bus.post("test", "before")
    for bad in (object(), "x" * (2 << 20), math.nan):
        with pytest.raises(stdevents.EncodeError):
            bus.post("test", "bad", bad)
    bus.post("test", "after")
    bus.poll()
    assert [event for _, event, _ in seen] == ["before", "after"]
    assert bus.stats().lost == 0


# -- not configured --------------------------------------------------------------------------------

CALLS = [
    ("post", ("test", "event")),
    ("post_local", ("test", "event")),
    ("poll", ()),
    ("stats", ()),
    ("workers", ()),
]


@pytest.mark.parametrize(("call", "arguments"), CALLS, ids=[call for call, _ in CALLS])
def test_a_bus_that_is_not_open_says_so(call, arguments):
    with pytest.raises(stdevents.NotConfigured, match="configure"):
        getattr(stdevents, call)(*arguments)
    with pytest.raises(stdevents.NotConfigured, match="configure"):
        getattr(stdevents.Bus(), call)(*arguments)


def test_a_closed_bus_says_in_which_process(bus):
    bus.close()
    with pytest.raises(stdevents.NotConfigured, match=f"process {os.getpid()}; .* post_fork"):
        bus.stats()


@pytest.mark.parametrize(("call", "arguments"), CALLS, ids=[call for call, _ in CALLS])
def test_a_closed_bus_says_so(bus, call, arguments):
    bus.close()
    with pytest.raises(stdevents.NotConfigured, match="configure"):
        getattr(bus, call)(*arguments)


# -- the errors themselves -------------------------------------------------------------------------

ERRORS = [
    (stdevents.StdeventsError("what"), Exception),
    (stdevents.NotConfigured("what"), RuntimeError),
    (stdevents.EncodeError("what"), ValueError),
    (stdevents.PayloadTooLarge("what", 7, 5), stdevents.EncodeError),
    (stdevents.LockTimeout("what"), TimeoutError),
    (stdevents.NoRoom("what"), TimeoutError),
    (stdevents.SegmentError(28, "what"), OSError),
    (stdevents.SegmentError("what"), OSError),
]


@pytest.mark.parametrize(("error", "standard"), ERRORS, ids=repr)
def test_each_error_is_also_a_standard_one(error, standard):
    assert isinstance(error, standard)
    assert isinstance(error, stdevents.StdeventsError)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", [error for error, _ in ERRORS], ids=repr)
def test_each_error_survives_pickling(error, protocol):
    twin = pickle.loads(pickle.dumps(error, protocol))
    assert (type(twin), twin.args, str(twin)) == (type(error), error.args, str(error))
    for attribute in ("size", "limit", "errno", "strerror"):
        assert getattr(twin, attribute, None) == getattr(error, attribute, None)


def test_errors_that_the_bus_raises_survive_pickling(bus):
    for bad in (object(), "x" * (2 << 20)):
        with pytest.raises(stdevents.EncodeError) as caught:
            bus.post("test", "event", bad)
        twin = pickle.loads(pickle.dumps(caught.value))
        assert (str(twin), vars(twin)) == (str(caught.value), vars(caught.value))


# -- pickling --------------------------------------------------------------------------------------


def test_a_bus_cannot_be_pickled(bus):
    for one in (bus, stdevents.Bus()):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(one)


def test_the_functions_of_the_module_can_be_pickled():
    """They are initializers of pools, and callbacks, in spawned processes (G7)."""
    for function in (stdevents.configure, stdevents.post, stdevents.close):
        assert pickle.loads(pickle.dumps(function)) == function
