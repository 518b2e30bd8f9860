"""The package as a folder: what it imports, what is shipped, and that it runs wherever it is put.

The package looked at is the one that is imported here: the tree's, or an installed wheel's.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from functools import lru_cache
from pathlib import Path

import pytest
from programs import PYTHON

import stdevents

PACKAGE = Path(stdevents.__file__).parent
TREE = Path(__file__).parent.parent

MODULES = sorted(PACKAGE.rglob("*.py"))
needs_the_tree = pytest.mark.skipif(
    not (TREE / "setup.cfg").exists(), reason="the tests are run from a copy, without the tree"
)
needs_the_wheel = pytest.mark.skipif(
    PACKAGE.parent != Path(sysconfig.get_path("purelib")), reason="the package is not installed"
)


@pytest.fixture
def bus_name():
    return f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@lru_cache(maxsize=None)
def syntax_of(module):
    return ast.parse(module.read_text(encoding="utf-8"), str(module))


def is_standard(name):
    """Whether the module called `name` comes with Python itself."""
    if sys.version_info >= (3, 10):
        return name in sys.stdlib_module_names
    # Before 3.10 there is no list of them: ask an interpreter that sees no others.
    return subprocess.run([sys.executable, "-I", "-S", "-c", f"import {name}"]).returncode == 0


def run(program, *arguments, python_path, cwd):
    """What `program` prints in a fresh process that is strict and may say nothing on stderr."""
    result = subprocess.run(
        [*PYTHON, "-c", program, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(python_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.stderr, result.returncode) == ("", 0)
    return result.stdout.strip()


# What the modules import


def absolute_imports_of(module):
    for node in ast.walk(syntax_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.partition(".")[0]


def test_absolute_imports_are_of_the_standard_library():
    imported = {name for module in MODULES for name in absolute_imports_of(module)}
    assert "json" in imported
    assert [name for name in sorted(imported) if not is_standard(name)] == []


def test_relative_imports_stay_within_the_package():
    leaving = [
        (str(module), node.lineno)
        for module in MODULES
        for node in ast.walk(syntax_of(module))
        if isinstance(node, ast.ImportFrom) and node.level > len(module.relative_to(PACKAGE).parts)
    ]
    assert leaving == []


def test_a_module_starts_with_the_future_import_of_annotations():
    for module in MODULES:
        syntax = syntax_of(module)
        first = syntax.body[0 if ast.get_docstring(syntax) is None else 1]
        assert isinstance(first, ast.ImportFrom), module
        assert first.module == "__future__", module
        assert [alias.name for alias in first.names] == ["annotations"], module


def test_the_import_on_windows_fails_and_says_why(tmp_path):
    program = """
import sys
sys.platform = "win32"
sys.modules["fcntl"] = None
try:
    import stdevents
except ImportError as error:
    print(error)
"""
    assert "Windows" in run(program, python_path=PACKAGE.parent, cwd=tmp_path)


WORKER = """
import io, json, multiprocessing.resource_tracker, multiprocessing.shared_memory, sys
before = set(sys.modules)
import stdevents

told = []
def fail():
    sys.stderr = io.StringIO()
    bus.post("test", "wrong", unique="key" if not told else None)
    bus.poll()
    told.append(sys.stderr.getvalue())
    sys.stderr = sys.__stderr__

stdevents.configure(sys.argv[1], interval=600)
bus = stdevents.configure(interval=0)
bus.register(lambda data, event, source, pid: data.missing, "test", "wrong")
loaded = {"dataclasses", "inspect", "logging", "tempfile", "typing"} & ({*sys.modules} - before)
fail()  # nobody has imported logging

import logging

fail()  # its handler of last resort
handler = logging.StreamHandler(io.StringIO())
handler.setFormatter(logging.Formatter("%(levelname)s of %(name)s"))
logging.getLogger().addHandler(handler)
fail()
print(json.dumps([*loaded]))
print(json.dumps([*told, handler.stream.getvalue()]))
print(bus.stats().handler_errors)
stdevents.close()
"""


def test_a_worker_loads_little_and_logs_with_logging_or_without(tmp_path, bus_name):
    said = run(WORKER, bus_name, python_path=PACKAGE.parent, cwd=tmp_path)
    loaded, told, errors = map(json.loads, said.split("\n"))

    # Who is root may lose the right to read what is imported late.
    assert {*loaded} <= ({"typing"} if os.geteuid() == 0 else set())
    for of_failure in told[:2]:
        assert of_failure.startswith("event callback failed; source=test, event=wrong, pid=")
        assert of_failure.endswith("AttributeError: 'NoneType' object has no attribute 'missing'\n")
    assert told[2] == ""
    assert told[3].startswith("ERROR of stdevents\nTraceback ")
    assert errors == 3


LATE = """
import sys
import stdevents

late = ["Handler", "Relay", "RelayStats"]
assert not {*late} & {*vars(stdevents)}
assert {*late} <= {*dir(stdevents)} and not {"Any", "TYPE_CHECKING"} & {*dir(stdevents)}

import pickle, pydoc
from stdevents import *

told = pydoc.plaintext.document(stdevents)
for name in stdevents.__all__:
    assert name in told, name
    assert globals()[name] is getattr(stdevents, name)
# The functions come first, before hundreds of lines of classes.
functions = [one for one in stdevents.__all__ if one[0].islower() and one != "events"]
first = told[: told.index("PACKAGE CONTENTS")]
assert not [one for one in functions if f"{one}(" not in first and f"{one}, " not in first]
for one in (Stats(1, 2, 3, 4, 5, 6, 7, 8), WorkerInfo(1, 2, 3, 4, 5), Origin("host", "1-0")):
    assert pickle.loads(pickle.dumps(one)) == one
try:
    stdevents.Stat
except AttributeError as error:
    print(error)
"""


def test_names_that_are_loaded_late_are_there_as_the_others(tmp_path):
    said = run(LATE, python_path=PACKAGE.parent, cwd=tmp_path)

    assert said == "module 'stdevents' has no attribute 'Stat'"


# What is shipped


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_the_version_can_be_read_without_an_import():
    versions = [
        ast.literal_eval(node.value)
        for node in syntax_of(PACKAGE / "__init__.py").body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__"
    ]

    assert versions == [stdevents.__version__]


@needs_the_tree
def test_the_changelog_tells_of_this_version():
    assert f"\n## {stdevents.__version__} " in (TREE / "CHANGELOG.md").read_text(encoding="utf-8")


@needs_the_tree
def test_no_key_is_both_in_setup_cfg_and_in_pyproject():
    tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
    pyproject = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg", encoding="utf-8")

    # setup.cfg has the metadata, pyproject.toml the tools: neither has a section of the other's.
    assert "project" not in pyproject
    assert "setuptools" not in pyproject["tool"]
    assert {section.partition(".")[0] for section in setup.sections()} == {"metadata", "options"}


@needs_the_tree
def test_the_command_that_pip_installs_is_the_one_of_the_module():
    setup = configparser.ConfigParser()
    setup.read(TREE / "setup.cfg", encoding="utf-8")
    scripts = setup["options.entry_points"]["console_scripts"].split("\n")

    assert scripts == ["", "stdevents = stdevents.__main__:main"]
    assert callable(importlib.import_module("stdevents.__main__").main)


@needs_the_wheel
def test_the_wheel_holds_the_package_its_metadata_and_its_licence_alone():
    metadata = f"stdevents-{stdevents.__version__}.dist-info"
    files = importlib.metadata.files("stdevents")

    # Outside of its folder there is the command `stdevents`.
    assert {file.parts[0] for file in files} == {"stdevents", metadata, ".."}
    assert [file.name for file in files if file.parts[0] == ".."] == ["stdevents"]
    assert [file.name for file in files if "LICENSE" in file.name] == ["LICENSE"]
    needed = importlib.metadata.requires("stdevents") or []
    assert [name for name in needed if "extra ==" not in name] == []


# Wherever it is put


def vendor(folder, application="app"):
    """Copy the package to where `application` would keep what it vendors."""
    vendored = folder / application / "_vendor"
    shutil.copytree(PACKAGE, vendored / "stdevents", ignore=shutil.ignore_patterns("__pycache__"))
    (vendored / "__init__.py").touch()
    (vendored.parent / "__init__.py").touch()


SMOKE = """
import io
import logging
import sys

from app._vendor import stdevents

name, place = sys.argv[1:]
assert stdevents.__file__.startswith(place), stdevents.__file__

received = []
stdevents.configure(name, interval=0)
stdevents.register(lambda data, event, source, pid: received.append(data), "cache", "drop")
stdevents.post("cache", "drop", {"key": 7})
assert stdevents.poll() == "done"
assert received == [{"key": 7}], received

# It logs under its own name.
handler = logging.StreamHandler(io.StringIO())
logging.getLogger("app._vendor.stdevents").addHandler(handler)
stdevents.register(lambda data, event, source, pid: data.missing, "cache", "fail")
stdevents.post("cache", "fail")
stdevents.poll()
assert handler.stream.getvalue().startswith("event callback failed; source=cache, event=fail")
stdevents.close()
print("ok")
"""


def test_a_vendored_copy_runs_from_its_folder(tmp_path, bus_name):
    place = tmp_path / "folder"
    vendor(place)

    assert run(SMOKE, bus_name, str(place), python_path=place, cwd=tmp_path) == "ok"


def test_a_vendored_copy_runs_from_a_zip(tmp_path, bus_name):
    vendor(tmp_path / "folder")
    place = shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "folder")

    assert run(SMOKE, bus_name, place, python_path=place, cwd=tmp_path) == "ok"


TWO_COPIES = """
import sys

from app._vendor import stdevents as ours
from other._vendor import stdevents as theirs

assert ours.Bus is not theirs.Bus
received = {}
for copy in (ours, theirs):
    received[copy] = []
    copy.configure(sys.argv[1], interval=0)
for copy, events in received.items():
    copy.register(lambda data, event, source, pid, to=events: to.append(data), "cache", "drop")

assert ours.post("cache", "drop", "from ours") + 1 == theirs.post("cache", "drop", "from theirs")
for copy, events in received.items():
    copy.poll()
    assert events == ["from ours", "from theirs"], events
for copy in received:
    copy.close()
print("ok")
"""


def test_two_copies_in_one_process_share_a_bus(tmp_path, bus_name):
    vendor(tmp_path, "app")
    vendor(tmp_path, "other")

    assert run(TWO_COPIES, bus_name, python_path=tmp_path, cwd=tmp_path) == "ok"
