"""What was built, as users install it: into clean environments, on the oldest and newest Python.

`tox -e package` builds it, into the folder `dist` from which these tests are run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DIST = Path("dist").resolve()
OLDEST = 8  # the minor version of the oldest Python that is supported
SECONDS = 300  # an sdist is built with setuptools, which comes from an index
CPYTHON = "import sys; assert sys.implementation.name == 'cpython'; print(sys.version_info[1])"


def run(*command, **options):
    done = subprocess.run(
        [str(each) for each in command],
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pythons():
    """The oldest and the newest CPython that PATH has; by their minor versions, for their names."""
    found = {sys.version_info[1]: sys.executable}
    for folder in os.environ["PATH"].split(os.pathsep):
        for path in Path(folder).glob("python3.*"):
            version = re.fullmatch(r"python3\.(\d+)", path.name)
            minor = int(version[1]) if version else 0
            # A shim, as those of pyenv, may be there without its Python.
            if minor >= OLDEST and minor not in found and says(path, CPYTHON) == str(minor):
                found[minor] = str(path)
    return [pytest.param(found[one], id=f"3.{one}") for one in sorted({min(found), max(found)})]


def says(python, program):
    done = subprocess.run([str(python), "-c", program], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def make_environment(python, place):
    """By its own means; else, as with Debian's Pythons, by virtualenv, which knows fewer."""
    if says(python, "import ensurepip") is not None:
        run(python, "-m", "venv", place)
    else:
        run(sys.executable, "-m", "virtualenv", "--quiet", "--python", python, place)


@pytest.fixture(params=["whl", "tar.gz"])
def built(request):
    """The wheel, or the sdist."""
    if not DIST.is_dir():
        pytest.skip("there is no dist here; tox -e package builds it")
    (file,) = DIST.glob(f"stdevents-*.{request.param}")
    return file


WORKER = """
import sys
import stdevents

assert stdevents.__file__.startswith(sys.prefix), stdevents.__file__
seen = []
bus = stdevents.configure(sys.argv[1], interval=0)
bus.register(lambda data, event, source, pid: seen.append((source, event, data)), "cache")
stdevents.post("cache", "fill", 7)
print("ready", flush=True)
sys.stdin.readline()
assert stdevents.poll() == "done"
assert seen == [("cache", "fill", 7), ("cache", "drop", {"key": 7})], seen
stdevents.close()
print("ok")
"""


@pytest.mark.parametrize("python", pythons())
def test_it_installs_and_works_in_a_clean_environment(python, built, name, tmp_path):
    make_environment(python, tmp_path / "clean")
    commands = tmp_path / "clean" / "bin"
    run(commands / "python", "-m", "pip", "install", "--quiet", built)

    version = re.search(r"-(\d[\d.]*\d)[.-]", built.name)[1]
    assert run(commands / "stdevents", "--version", cwd=tmp_path).split()[-1] == version
    assert "usage: stdevents " in run(commands / "stdevents", "--help", cwd=tmp_path)

    worker = subprocess.Popen(
        [str(commands / "python"), "-I", "-X", "dev", "-W", "error", "-c", WORKER, name],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert worker.stdout.readline() == "ready\n"
        posted = run(commands / "stdevents", "post", name, "cache", "drop", '{"key": 7}')
        assert posted.strip().isdecimal()
        assert worker.communicate("\n", timeout=SECONDS)[0] == "ok\n"
    finally:
        worker.kill()
        worker.communicate()
