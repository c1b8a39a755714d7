"""What only the native engine can do: parallel processes, crashes, cancelling what runs, logs.

Collected only where the engine is built. A test gets a node with two CPU slots by the fixture
`node`; afterwards no process, descriptor or thread may be left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time

import haz
import pytest
from haz.testing import leak_check

from tests.engines import HAS_NATIVE, no_threads_of_blas
from tests.python.native.node_tools import Node

collect_ignore_glob = [] if HAS_NATIVE else ["test_*.py"]


@pytest.fixture(scope="session", autouse=True)
def _no_threads_of_blas():
    yield from no_threads_of_blas()


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with leak_check():
        yield
        haz.shutdown()


@pytest.fixture
def node():
    """The native engine with two CPU slots."""
    return haz.init(engine="native", num_cpus=2, resources={"crane": 1})


class Gate:
    """A file that tasks wait for, or a mark that they leave. Works across processes."""

    def __init__(self, path):
        self.path = str(path)

    def open(self):
        with open(self.path, "a"):
            pass

    def is_open(self):
        return os.path.exists(self.path)

    def wait(self, deadline_s=90.0):
        end = time.monotonic() + deadline_s
        while not self.is_open():
            if time.monotonic() > end:
                raise AssertionError(f"{self.path} was not opened")
            time.sleep(0.002)
        return True


@pytest.fixture
def gate(tmp_path):
    """Make gates: ``gate("name")``. The same name is the same gate."""
    return lambda name="gate": Gate(tmp_path / name)


class Tally:
    """Counts across processes."""

    def __init__(self, path):
        self.path = str(path)

    def add(self, text="x"):
        with open(self.path, "a") as file:
            file.write(text + "\n")

    def lines(self):
        try:
            with open(self.path) as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def count(self):
        return len(self.lines())


@pytest.fixture
def tally(tmp_path):
    """Count calls across processes: ``tally.add()``, ``tally.count()``."""
    return Tally(tmp_path / "tally")


@pytest.fixture
def run_program(tmp_path):
    """Run a program of its own: ``run_program(source)`` gives its CompletedProcess."""

    def run(source, *arguments, environment=None, timeout=100):
        path = tmp_path / "program.py"
        path.write_text(textwrap.dedent(source))
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "HAZ_NUM_CPUS": "2", "HAZ_ENGINE": "native", **(environment or {})},
        )

    return run


@pytest.fixture
def fresh_node(monkeypatch):
    """A long-lived node that is not started yet; at the end nothing of it may be left."""
    folder = tempfile.mkdtemp(prefix="haz-", dir="/tmp")
    os.chmod(folder, 0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    monkeypatch.delenv("HAZ_ADDRESS", raising=False)
    one = Node(folder)
    try:
        with leak_check():
            yield one
            haz.shutdown()
            for program in one.drivers:
                program.kill()
                program.communicate()
    finally:
        one.command("stop", "--all", check=False)
        shutil.rmtree(folder)


@pytest.fixture
def running(fresh_node):
    """A long-lived node with two CPU slots."""
    return fresh_node.start()
