"""What only the newest Pythons have: subinterpreters, imports that are all lazy, frozendict."""

from __future__ import annotations

import sys

import pytest
from programs import run
from seen import everything_from

import stdevents

SUBINTERPRETER = """
import sys
from concurrent import interpreters
import stdevents

name = sys.argv[1]
bus = stdevents.Bus(name, interval=0)
events = []
bus.register(lambda data, event, source, pid: events.append((source, event, data)))
bus.poll()
events.clear()
one = interpreters.create()
IN_IT = '''
import sys
sys.path[:] = {path!r}
import stdevents

def refused(**options):
    try:
        stdevents.configure({name!r}, **options)
    except stdevents.StdeventsError as error:
        return "interval=0" in str(error)
    return False
'''.format(path=sys.path, name=name)
one.exec(IN_IT)
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="concurrent.interpreters came with 3.14")
def test_a_subinterpreter_polls_by_hand(name):
    """Without a loop it is a worker as any other, of its own."""
    program = f"""{SUBINTERPRETER}
one.exec('''
got = []
stdevents.register(lambda data, event, source, pid: got.append(data), "test")
stdevents.configure({{name!r}}, interval=0)
stdevents.post("test", "inside", 1)
'''.format(name=name))
bus.post("test", "outside", 2)
bus.poll()
one.exec('''
stdevents.poll()
assert got == [1, 2], got
assert len(stdevents.workers()) == 2
stdevents.close()
''')
one.close()
print([event for event in events if event[0] == "test"], len(bus.workers()))
bus.close()
"""
    assert run(program, name) == "[('test', 'inside', 1), ('test', 'outside', 2)] 1\n"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="concurrent.interpreters came with 3.14")
def test_a_subinterpreter_has_no_loop_and_says_so_before_anything_changed(name):
    """It has no daemon threads; nobody hears of a worker that never was one."""
    program = f"""{SUBINTERPRETER}
one.exec('''
assert refused()
assert refused(interval=0.5)
assert not stdevents.configured()
''')
bus.poll()
assert events == [] and len(bus.workers()) == 1, events
one.exec('''
stdevents.configure({{name!r}}, interval=0, timeout=7)
assert refused(interval=0.5, timeout=9)
stdevents.post("test", "still there")
stdevents.close()
'''.format(name=name))
one.close()
bus.poll()
print([event for source, event, data in events])
bus.close()
"""
    assert run(program, name) == "['started', 'still there', 'stopping']\n"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports came with 3.15")
def test_a_program_whose_imports_are_all_lazy_uses_the_bus(name, monkeypatch):
    """Also in a forked child, which may load nothing in the hooks of the fork."""
    monkeypatch.setenv("PYTHON_LAZY_IMPORTS", "all")
    program = """
import os, sys, threading
import stdevents

heard = threading.Event()
stdevents.register(lambda data, event, source, pid: heard.set(), "test", "of child")
stdevents.configure(sys.argv[1])
child = os.fork()
if not child:
    stdevents.post("test", "of child")
    stdevents.close()
    os._exit(0)
print(sys.get_lazy_imports(), os.waitpid(child, 0)[1], heard.wait(60))
stdevents.close()
"""
    assert run(program, name) == "all 0 True\n"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="frozendict came with 3.15")
def test_a_frozendict_is_an_object_of_json(bus):
    """And what is no JSON in it is told by its place."""
    frozendict = getattr(__import__("builtins"), "frozendict")  # noqa: B009
    seen = everything_from(bus, "test")
    bus.post("test", "event", frozendict(a=[frozendict(b=1)]))
    bus.poll()
    assert seen == [{"a": [{"b": 1}]}]
    deep = 1
    for _ in range(300):
        deep = frozendict(deeper=deep)
    for data, what in (
        (frozendict(price=float("nan")), r"data\['price'\] is nan"),
        ({"row": frozendict(user=object())}, r"data\['row'\]\['user'\] is of type object"),
        (deep, "nested deeper than 256 levels"),
    ):
        with pytest.raises(stdevents.EncodeError, match=what):
            bus.post("test", "event", data)
