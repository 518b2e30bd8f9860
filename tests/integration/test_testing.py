"""docs/testing.md: its fixture and its tests, under pytest-xdist, beside each other."""

from __future__ import annotations

import re
import subprocess

import pytest
from servers import BIN, EXAMPLES, environment

PAGE = (EXAMPLES.parent / "docs" / "testing.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
COPIES = 3  # of its tests


@pytest.fixture
def folder(tmp_path, name):
    """Its files, with names of buses of which nothing may be left, as `name` sees to."""
    for file, text in FILES.items():
        text = text.replace('f"test-{os.getpid()}', f'f"{name}-{{os.getpid()}}')
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert name in (tmp_path / "conftest.py").read_text()
    return tmp_path


def run(folder, *options):
    done = subprocess.run(
        [str(BIN / "python"), "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stdout


def test_the_fixture_is_ten_lines():
    fixture = FILES["conftest.py"].partition("@pytest.fixture\n")[2]
    assert len(fixture.splitlines()) <= 10


def test_its_tests_pass_beside_each_other_and_leave_nothing(folder, told):
    for number in range(COPIES):
        (folder / f"test_again_{number}.py").write_text(FILES["test_prices.py"])
    status, said = run(folder, "-n", "3")
    assert status == 0, said
    count = 4 * (COPIES + 1)
    assert f"{count} passed" in said
    told(f"{count} tests in 3 processes of pytest-xdist")


def test_they_pass_in_one_process(folder):
    status, said = run(folder)
    assert status == 0, said


def test_a_handler_that_fails_fails_the_test(folder):
    (folder / "test_failing.py").write_text(
        'import stdevents\n\ndef test_it(bus):\n    stdevents.on("prices", "broken")(fail)\n'
        '    stdevents.post("prices", "broken")\n    stdevents.poll()\n\n'
        "def fail(data, event, source, pid):\n    raise RuntimeError\n"
    )
    status, said = run(folder, "test_failing.py")
    assert status == 1
    assert "1 passed, 1 error" in said
