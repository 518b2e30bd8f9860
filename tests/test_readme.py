"""README and docs: their code and commands run as they stand there, under a bus name of their own.

Their tables are those of the package, and their links lead somewhere.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from children import SECONDS
from programs import PYTHONPATH, run, start
from waiting import LONG

import stdevents

ROOT = Path(__file__).parent.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
IS_HERE = README.exists() and DOCS.is_dir()
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES = [README, *OTHERS, *sorted(DOCS.glob("*.md"))] if IS_HERE else []
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
pytestmark = pytest.mark.skipif(not IS_HERE, reason="there are no README and docs beside the tests")

LINES = 130  # of README: what people read before they try it

# Of each page the code that is in ``` and says in its first line which file it is: who runs it.
FILES = {
    "README.md": {
        "chat.py": "tests/test_readme.py",
        "app.py": "tests/integration/test_front_page.py",
        "gunicorn.conf.py": "tests/integration/test_front_page.py",
    },
    "docs/relay.md": {
        "joined.py": "tests/relay/test_page.py",
        "notices.py": "tests/test_readme.py",
        "tls.py": "tests/relay/test_tls.py",
        "sentinel.py": "tests/relay/test_sentinel.py",
        "cluster.py": "tests/relay/test_cluster.py",
    },
    "docs/roles.md": dict.fromkeys(
        ["reloader.py", "warm.py", "serve.py", "imported.py", "master_conf.py"],
        "tests/integration/test_roles.py",
    ),
    "docs/testing.md": dict.fromkeys(
        ["conftest.py", "prices.py", "test_prices.py"], "tests/integration/test_testing.py"
    ),
}

# In its debug mode asyncio warns of a step that takes long, as each does on a busy machine.
QUIET = "from asyncio.log import logger; logger.setLevel('ERROR'); del logger; "


def blocks_of(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXTS[page], re.MULTILINE | re.DOTALL)


def file_of(block):
    found = re.match(r"# (\S+\.py)\n", block)
    return found and found[1]


PROGRAMS = [
    pytest.param(block, id=f"{page}-{number}")
    for page in TEXTS
    for number, block in enumerate(blocks_of(page, "python"))
    if not file_of(block)
]
COMMANDS = [
    pytest.param(line, id=f"{page}-{line.split()[3]}")
    for page in TEXTS
    for block in blocks_of(page, "sh")
    for line in block.splitlines()
]


def program_of(page, file):
    (program,) = (block for block in blocks_of(page, "python") if file_of(block) == file)
    return program


# -- code ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", PROGRAMS)
def test_the_code_runs(block, name, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(block.replace("my-app", name), encoding="utf-8")
    run(f"{QUIET}import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", program)


def test_code_that_is_a_file_is_run_by_a_test_of_its_own():
    found = {page: {*map(file_of, blocks_of(page, "python"))} - {None} for page in TEXTS}
    assert {page: files for page, files in found.items() if files} == {
        page: {*files} for page, files in FILES.items()
    }
    for page, files in FILES.items():
        for test in files.values():
            text = (ROOT / test).read_text(encoding="utf-8")
            assert Path(page).name in text, f"{test} does not read {page}"


def test_no_code_is_in_a_block_that_no_test_knows():
    languages = {one for text in TEXTS.values() for one in re.findall(r"^```(\S+)$", text, re.M)}
    assert languages == {"python", "sh"}


def test_two_terminals_show_the_lines_of_both_in_one_order(name, tmp_path, monkeypatch):
    """G1: README's first program, and what it says that they show."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # as on a terminal
    file = tmp_path / "chat.py"
    program = program_of("README.md", "chat.py")
    file.write_text(program.replace('configure("chat")', f'configure("{name}")'), encoding="utf-8")
    terminals = [start(file), start(file)]
    try:
        with stdevents.Bus(name, interval=0) as bus:
            deadline = time.monotonic() + LONG
            while len(bus.workers()) < 3:
                assert time.monotonic() < deadline, "they do not come"
                time.sleep(0.01)
        shown = [[], []]
        for terminal, line in zip(terminals, ("hello", "hi")):
            terminal.stdin.write(f"{line}\n")
            terminal.stdin.flush()
            for lines, each in zip(shown, terminals):
                lines.append(each.stdout.readline())
        for terminal in terminals:
            assert terminal.communicate(timeout=SECONDS) == ("", "")
            assert terminal.returncode == 0
    finally:
        for terminal in terminals:
            terminal.kill()
            terminal.communicate()
    one, two = (str(terminal.pid) for terminal in terminals)
    assert shown[0] == shown[1] == [f"{one} says hello\n", f"{two} says hi\n"]
    for said in shown[0]:
        as_told = said.strip().replace(one, "4711").replace(two, "4712")
        assert TEXTS["README.md"].count(as_told) == 2  # a column for each terminal


POSTGRESQL = """
import runpy
import sys
import types

SAID = []
CONNECTION = types.SimpleNamespace(
    execute=SAID.append,
    notifies=lambda: iter([types.SimpleNamespace(payload='["cache", "drop", {"key": "user:7"}]')]),
)

class Connection:
    def __enter__(self):
        return CONNECTION

    def __exit__(self, *_):
        pass

psycopg = types.ModuleType("psycopg")
psycopg.connect = lambda autocommit: Connection()
sys.modules["psycopg"] = psycopg

import stdevents

seen = []
stdevents.register(lambda data, event, source, pid: seen.append((source, event, data)))
runpy.run_path(sys.argv[1])
stdevents.poll()
assert SAID == ["LISTEN my_app"]
print([one for one in seen if one[0] != "stdevents"])
"""


def test_events_of_another_host_by_postgresql(name, tmp_path):
    """With its client replaced by one that says what a server would."""
    file = tmp_path / "notices.py"
    program = program_of("docs/relay.md", "notices.py").replace("my-app", name)
    file.write_text(program, encoding="utf-8")
    seen = [("hosts", "joined", None), ("cache", "drop", {"key": "user:7"})]
    assert run(POSTGRESQL, file) == f"{seen}\n"


# -- commands --------------------------------------------------------------------------------------

# A worker that posts now and then, so that there is something to see, until its input ends.
WORKER = """
import select, sys
import stdevents

stdevents.answer("cache", "size")(lambda data, event, source, pid: 7)
stdevents.configure(sys.argv[1], timeout=0.1)
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
    stdevents.post("cache", "drop", {"key": "user:7"})
stdevents.close()
"""


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_runs(line, name, interruptible):
    words = shlex.split(line.replace("my-app", name))
    assert words.pop(0) == "python3"
    worker = start(WORKER, name)
    try:
        assert worker.stdout.readline() == "ready\n"
        command = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
            text=True,
        )
        first = command.stdout.readline()
        if "tail" in words or "--watch" in words:  # they go on until Ctrl-C
            command.send_signal(signal.SIGINT)
        command.communicate(timeout=SECONDS)
        assert command.returncode in (0, 128 + signal.SIGINT, -signal.SIGINT)
        assert first.strip()
    finally:
        worker.communicate("\n", timeout=SECONDS)


# -- tables ----------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= LINES


def rows_of(page, heading):
    """The first cells of the table below a heading."""
    part = re.split(r"^## ", TEXTS[page], flags=re.MULTILINE)
    (part,) = (one for one in part if one.startswith(heading))
    return re.findall(r"^\| ([^|]+) \|", part, re.MULTILINE)


def test_the_guarantees_are_those_that_tests_cite_by_number():
    """G1 to G9."""
    rows = rows_of("README.md", "What it promises")
    assert len(rows) == 9
    assert rows_of("docs/guide.md", "What it promises") == rows


def test_every_call_and_option_is_in_the_guide():
    shown = set(re.findall(r"\w+", TEXTS["docs/guide.md"] + TEXTS["docs/operations.md"]))
    errors = {"EncodeError", "EventList", "NotConfigured", "PayloadTooLarge", "Stats"}
    errors |= {"Origin", "RelayStats", "Relay", "RelayError"}
    told_by_help = errors | {"StdeventsError", "WorkerInfo", "events"}
    assert set(stdevents.__all__) - told_by_help <= shown
    assert set(stdevents.configure.__kwdefaults__) <= shown


def test_every_name_is_in_the_reference():
    names = re.findall(r"^::: stdevents\.(\w+)$", TEXTS["docs/reference.md"], re.MULTILINE)
    functions = {name for name in vars(stdevents.Bus) if not name.startswith("_")}
    functions |= {"wait", "ask", "answer", "lead"}
    assert {*names, *functions} >= set(stdevents.__all__)
    assert all(hasattr(stdevents, name) for name in names)


def defaults_in(text):
    """What its tables say: options, and their defaults as Python writes them."""
    said = {}
    for names, values in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.+?) \|", text, re.MULTILINE):
        for option, value in zip(re.findall(r"\w+", names), values.split(", ")):
            said[option] = value.strip("`").replace('"', "'")
    return said


def test_the_defaults_are_as_the_guide_says():
    said = defaults_in(TEXTS["docs/guide.md"])
    for option, default in stdevents.configure.__kwdefaults__.items():
        assert option in said, f"{option}: it needs a row in the guide's table of options"
        assert repr(default) == (
            f"{float(said[option])}" if isinstance(default, float) else said[option]
        )


def test_the_defaults_of_a_relay_are_as_its_page_says():
    said = defaults_in(TEXTS["docs/relay.md"])
    assert said.pop("host") == "the machine's name"
    parameters = inspect.signature(stdevents.Relay).parameters
    assert said == {option: repr(parameters[option].default) for option in said}
    assert {*said, "host"} == {
        name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY
    }


# -- links -----------------------------------------------------------------------------------------


def anchors_of(text):
    """What GitHub, and the site, make of the headings."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_each_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), link
