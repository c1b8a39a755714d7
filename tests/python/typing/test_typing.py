"""Type hints survive ``@haz.remote``: mypy accepts what is right and finds what is wrong."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.once import shared_folder

pytest.importorskip("mypy")
pytestmark = pytest.mark.timeout(600)  # the first run fills the cache, which the others wait for

HERE = Path(__file__).parent
PACKAGE = Path(__import__("haz").__file__).parent
ERROR = re.compile(r"^[^:]+:(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$", re.MULTILINE)


def mypy(name, cache, config=""):
    """What mypy says of a file, strictly, in any version of Python that haz has."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary"]
    command.append(f"--config-file={config}")
    # Errors inside of haz itself are the business of `make lint`.
    command += [
        "--hide-error-context",
        "--follow-imports=silent",
        "--no-pretty",
        f"--cache-dir={cache}",
        str(HERE / name),
    ]
    environment = {"MYPYPATH": str(PACKAGE.parent), "PATH": ""}
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return [line for line in done.stdout.splitlines() if ": error:" in line], done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = shared_folder(tmp_path_factory) / "mypy-cache"
    folder.mkdir(exist_ok=True)
    return folder


def test_good_programs(cache):
    assert mypy("good.py", cache) == ([], "")


def test_bad_programs(cache):
    errors, _ = mypy("bad.py", cache)
    check_errors("bad.py", errors)


def check_errors(name, errors):
    """Compare mypy's errors with those that the file says, as ``# E: code``."""
    found = {int(line): code for line, code in ERROR.findall("\n".join(errors))}
    lines = (HERE / name).read_text().splitlines()
    expected = {
        number: line.rpartition("# E: ")[2]
        for number, line in enumerate(lines, 1)
        if "  # E: " in line
    }
    assert len(expected) > 10
    missed = {n: lines[n - 1] for n in expected if n not in found}
    extra = {n: lines[n - 1] for n in found if n not in expected}
    assert not missed
    assert not extra
    assert found == expected


@pytest.fixture(scope="module")
def with_plugin(tmp_path_factory):
    """The path of a configuration with haz's plugin."""
    path = tmp_path_factory.mktemp("plugin") / "mypy.ini"
    path.write_text("[mypy]\nplugins = haz.mypy_plugin\n")
    return path


def test_good_programs_with_the_plugin(cache, with_plugin):
    assert mypy("plugin_good.py", cache, with_plugin) == ([], "")
    assert mypy("good.py", cache, with_plugin) == ([], "")


def test_bad_programs_with_the_plugin(cache, with_plugin):
    check_errors("plugin_bad.py", mypy("plugin_bad.py", cache, with_plugin)[0])
    check_errors("bad.py", mypy("bad.py", cache, with_plugin)[0])
