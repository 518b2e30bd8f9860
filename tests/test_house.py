"""The rules of the house that can be read off the sources: of the package, and of its tests."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import pytest
from children import SECONDS
from programs import PYTHON

import stdevents

TESTS = Path(__file__).parent
PACKAGE = Path(stdevents.__file__).parent
NAME = 70  # characters that the name of a test may have

# What reaches inside: `inside`, with what tests of the log alone need in a file of its own, and the
# breaks that are made in a copy of the package's own text.
INSIDERS = {
    TESTS / "inside.py",
    TESTS / "inside_log.py",
    TESTS / "campaigns/breaks.py",
    TESTS / "test_house.py",
}
PROGRAM = re.compile(r"^\s*(?:from|import) +stdevents\._[a-z]", re.MULTILINE)
FILE_OF_PACKAGE = re.compile(r"\b_(?:system|table|bus|relay|cli)/\w")
PRIVATE = re.compile(r"_[A-Za-z]\w*")
# What stands before an underscore that is none of the package's: a test's own, or another's.
OTHERS = {"self", "cls", "os", "sys", "asyncio"}
OTHERS_NAMES = {
    "_source",  # public, of an event list
    "_log_destroy_pending",  # of asyncio's tasks
}


@lru_cache(maxsize=None)
def syntax_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


# -- the package -----------------------------------------------------------------------------------

MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 350, 60  # lines; of a function without its docstring

# From the bottom up: a module imports what is further down, and what lies in its own folder.
FLOORS = (
    ("_errors", "_names", "_types", "_protocols", "_log"),
    ("_system",),
    ("_table",),
    ("_bus",),
    ("_aio",),
    ("_relay", "aio"),
    ("_cli",),
    ("__init__",),
    ("__main__",),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}

# Underscores that are no private names, by what stands before them or by themselves.
FOREIGN = {"os", "sys"}
PUBLIC = {"_source", "_replace", "_asdict"}  # of an event list; of named tuples
STANDARD = {
    ("_system/memory.py", "_fd"),  # SharedMemory tells its file in no other way
    ("_system/living.py", "_enumerate"),  # the public one takes a lock
}


def place_of(path):
    return path.relative_to(PACKAGE).as_posix()


def parts_of(path):
    return place_of(path)[: -len(".py")].split("/")


def imported_by(path):
    """The modules of the package that a module imports, also for its types, as parts of a path."""
    folder = parts_of(path)[:-1]
    for node in ast.walk(syntax_of(path)):
        if not (isinstance(node, ast.ImportFrom) and node.level):
            continue
        start = folder[: len(folder) - node.level + 1]
        if node.module:
            yield start + node.module.split(".")
        else:
            for alias in node.names:
                if alias.name == "__version__":  # said where those look who build the package
                    continue
                found = start + [alias.name]
                is_module = (PACKAGE.joinpath(*found)).with_suffix(".py").exists()
                yield found if is_module or PACKAGE.joinpath(*found).is_dir() else ["__init__"]


def test_every_module_has_its_floor():
    assert {parts_of(path)[0] for path in MODULES} == set(FLOOR_OF)


def test_imports_go_down():
    """What is above can be deleted, and what is below can be read by itself."""
    upwards = set()
    for path in MODULES:
        here = parts_of(path)[0]
        for there in imported_by(path):
            is_bottom = FLOOR_OF[here] == FLOOR_OF[there[0]] == 0
            if there[0] != here and not is_bottom and FLOOR_OF[there[0]] >= FLOOR_OF[here]:
                upwards.add((place_of(path), "/".join(there)))
    assert upwards == set(), "each imports what is further up: see the map in architecture.md"


def names_made_in(syntax):
    """The functions, classes, variables and attributes that a module makes."""
    for node in ast.walk(syntax):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(getattr(node, "ctx", None), ast.Store):
            yield getattr(node, "attr", None) or getattr(node, "id", None)


def test_no_module_touches_the_underscore_of_another():
    touched = set()
    for path in MODULES:
        syntax = syntax_of(path)
        own = {*names_made_in(syntax), *PUBLIC}
        for node in ast.walk(syntax):
            if isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else None
                names = [] if owner in FOREIGN else [node.attr]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [alias.name for alias in node.names]
            else:
                continue
            touched.update((place_of(path), name) for name in names if name not in own)
    others = {one for one in touched if PRIVATE.fullmatch(one[1])} - STANDARD
    assert others == set(), "ask the module that has it, by a public name"


def test_a_file_is_one_idea_long():
    lines = {place_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    long = {place: count for place, count in lines.items() if count > LONGEST_FILE}
    assert long == {}, f"more than {LONGEST_FILE} lines: find the second idea, and move it out"


def length_of(function):
    """How many lines the function has, without its docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def test_a_function_fits_a_screen():
    long = {
        (place_of(path), node.name, length_of(node))
        for path in MODULES
        for node in ast.walk(syntax_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if length_of(node) > LONGEST_FUNCTION
    }
    assert long == set(), f"more than {LONGEST_FUNCTION} lines, without the docstring"


def test_a_module_says_its_idea_in_its_first_line():
    for path in MODULES:
        first = path.read_text("utf-8").split("\n", 1)[0]
        has_one = re.fullmatch(r'r?""".{10,}', first) and ast.get_docstring(syntax_of(path))
        assert has_one, f"{place_of(path)}: begin with a docstring, its idea in the first line"


# -- the core alone --------------------------------------------------------------------------------

MAY_BE_DELETED = ("_cli", "_relay", "_aio", "aio.py", "__main__.py")

CORE_AT_WORK = """
import json, os, sys
import stdevents

seen = []
bus = stdevents.configure(sys.argv[1], interval=0)
stdevents.register(lambda data, event, source, pid: seen.append([event, data]), "test")
stdevents.post("test", "plain", 1)
stdevents.post("test", "once", 2, unique="key")
stdevents.post("test", "once", 3, unique="key")
stdevents.post_local("test", "local", 4)
stdevents.poll()
child = os.fork()
if not child:
    stdevents.post("test", "of child", len(stdevents.workers()))
    stdevents.close()
    os._exit(0)
os.waitpid(child, 0)
stdevents.poll()
workers = [worker.pid for worker in stdevents.workers()] == [os.getpid()]
print(json.dumps([seen, stdevents.stats().ignored, workers]))
"""

ASK_FOR_MISSING = """
import sys
import stdevents

try:
    getattr(stdevents, sys.argv[1])
except AttributeError as error:
    print(error)
"""


@pytest.fixture
def core(tmp_path):
    """`core(program, ...)`: what it prints where all that may be deleted is."""
    copy = tmp_path / "stdevents"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", *MAY_BE_DELETED))

    def run(program, *arguments):
        done = subprocess.run(
            [*PYTHON, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_the_core_works_alone(core, name):
    """Post, unique, local, fork, stats and workers, where the rest is deleted."""
    seen, ignored, alone = json.loads(core(CORE_AT_WORK, name))
    assert seen == [["local", 4], ["plain", 1], ["once", 2], ["of child", 2]]
    assert ignored == 1
    assert alone


@pytest.mark.parametrize(("missing", "place"), [("Relay", "_relay"), ("aio", "aio.py")])
def test_what_was_deleted_says_so_where_it_is_asked_for(core, missing, place):
    said = core(ASK_FOR_MISSING, missing)
    assert missing in said and place in said


def test_an_import_that_fails_within_a_part_is_told_as_it_is(core, tmp_path):
    """It is not the part that is missing."""
    (tmp_path / "stdevents" / "aio.py").write_text("import nowhere")
    program = ASK_FOR_MISSING.replace("AttributeError", "ModuleNotFoundError")
    assert core(program, "aio") == "No module named 'nowhere'\n"


# -- the tests -------------------------------------------------------------------------------------

TEST_FILES = sorted(TESTS.rglob("*.py"))


def is_private(module):
    return any(PRIVATE.fullmatch(part) for part in module.split("."))


def reaches_inside(node):
    """Does this node of a test name what is private in the package?"""
    if isinstance(node, ast.ImportFrom):
        names = [node.module or "", *(alias.name for alias in node.names)]
        return names[0].split(".")[0] == "stdevents" and any(map(is_private, names))
    if isinstance(node, ast.Import):
        return any(
            alias.name.startswith("stdevents.") and is_private(alias.name) for alias in node.names
        )
    if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
        owner = node.value.id if isinstance(node.value, ast.Name) else None
        return owner not in OTHERS and node.attr not in OTHERS_NAMES
    if isinstance(node, ast.Call):
        function = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = (one.value for one in node.args if isinstance(one, ast.Constant))
        texts = [text for text in texts if isinstance(text, str)]
        return function in ("getattr", "setattr", "delattr", "hasattr") and any(
            PRIVATE.fullmatch(text) for text in texts
        )
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(PROGRAM.search(node.value) or FILE_OF_PACKAGE.search(node.value))
    return False


def test_only_one_module_of_the_tests_reaches_inside():
    """So that a change within changes `tests/inside.py`, and no test."""
    found = [
        f"{path.relative_to(TESTS)}:{node.lineno}"
        for path in TEST_FILES
        if path not in INSIDERS
        for node in ast.walk(syntax_of(path))
        if reaches_inside(node)
    ]
    assert found == [], "say in inside.py what is wanted, and import that"


@pytest.mark.parametrize(
    "program",
    [
        "from stdevents._bus import bus",
        "from stdevents import _names",
        "import stdevents._log",
        "bus._loop.stop(0)",
        "stdevents.Bus('a')._session",
        "monkeypatch.setattr(bus, '_session', None)",
        "run('import os\\nfrom stdevents._bus import bus')",
        "code.co_filename.endswith('_table/table.py')",
    ],
)
def test_what_reaches_inside_is_recognised(program):
    assert any(map(reaches_inside, ast.walk(ast.parse(program))))


def test_the_name_of_a_test_is_short():
    long = [
        node.name
        for path in TEST_FILES
        for node in ast.walk(syntax_of(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if len(node.name) > NAME
    ]
    assert long == [], f"more than {NAME} characters"
