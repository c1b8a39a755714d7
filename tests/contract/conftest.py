"""The contract of an engine: every test here runs on each of them.

A test gets the running engine by the fixture `engine` (its name), with two CPU slots. Afterwards
no process, descriptor or thread may be left.
"""

from __future__ import annotations

import haz
import pytest
from haz.testing import leak_check

from tests.engines import ENGINES, HAS_NATIVE, native_has_actors, no_threads_of_blas
from tests.nodes import Nodes, joining


@pytest.fixture(scope="session", autouse=True)
def _no_threads_of_blas():
    yield from no_threads_of_blas()


@pytest.fixture(scope="session")
def nodes():
    """Long-lived nodes to join."""
    started = Nodes()
    yield started
    started.end()


@pytest.fixture(params=[*ENGINES, *(["joined"] if HAS_NATIVE else [])])
def engine_name(request):
    """The name of the engine; nothing runs yet. Of "joined" it is the native one of a node that
    another process hosts.
    """
    if request.param == "joined":
        if request.node.get_closest_marker("own_node") is not None:
            pytest.skip("about a node of the program's own")
        with joining(request.getfixturevalue("nodes")):
            yield "native"
        return
    is_of_actors = request.node.path.name.startswith(("test_actor", "test_util"))
    if request.param == "native" and is_of_actors and not native_has_actors():
        pytest.skip("the native engine has no actors here")
    yield request.param


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with leak_check():
        yield
        haz.shutdown()


@pytest.fixture
def engine(engine_name):
    """The name of the engine, which runs with two CPU slots."""
    haz.init(engine=engine_name, num_cpus=2, resources={"crane": 2})
    return engine_name


@pytest.fixture
def tally(tmp_path):
    """Count calls across processes: ``tally.add()`` in a task, ``tally.count()`` anywhere."""
    return Tally(str(tmp_path / "tally"))


class Tally:
    def __init__(self, path):
        self.path = path

    def add(self):
        """Count one, and return how many there are now."""
        with open(self.path, "a") as file:
            file.write("x")
            return file.tell()

    def count(self):
        try:
            with open(self.path) as file:
                return len(file.read())
        except FileNotFoundError:
            return 0
