"""What all tests share: Ctrl-C, and which of them say the same on each Python."""

from __future__ import annotations

import signal
from pathlib import PurePath

import pytest

#: Folders and files about the core, other processes' ends, tools or packages: what the version of the interpreter
#: can't change. `make test-all` runs them on one Python; see CONTRIBUTING.md.
ONE_PYTHON = (
    "contract/test_faces_progress.py",
    "contract/test_placement_groups.py",
    "contract/test_resources.py",
    "contract/test_state.py",
    "contract/test_state_lists.py",
    "e2e/test_cpp_nodes.py",
    "e2e/test_cpp_packages.py",
    "e2e/test_cpp_programs.py",
    "e2e/test_docs.py",
    "e2e/test_newcomer.py",
    "e2e/test_walk.py",
    "python/cpp",
    "python/native/test_actors_many.py",
    "python/native/test_faults_driver.py",
    "python/native/test_faults_generators.py",
    "python/native/test_faults_load.py",
    "python/native/test_faults_memory.py",
    "python/native/test_faults_soak.py",
    "python/native/test_faults_workers.py",
    "python/native/test_full_store.py",
    "python/native/test_ipp_clusters_page.py",
    "python/native/test_ipp_engines.py",
    "python/native/test_ipp_output.py",
    "python/native/test_ipp_views.py",
    "python/native/test_joblib_sklearn.py",
    "python/native/test_kernels.py",
    "python/native/test_nodes.py",
    "python/native/test_nodes_faults.py",
    "python/native/test_nodes_shared.py",
    "python/native/test_placement_groups.py",
    "python/native/test_state.py",
    "python/native/test_thread_budgets.py",
    "python/typing",
    "tidy",
)

_FOLDER = PurePath(__file__).parent
_ONE_PYTHON = frozenset(_FOLDER / path for path in ONE_PYTHON)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        params = getattr(item, "callspec", None)
        # A node that another process hosts is the same native engine, behind rings.
        is_joined = params is not None and params.params.get("engine_name") == "joined"
        if is_joined or item.path in _ONE_PYTHON or not _ONE_PYTHON.isdisjoint(item.path.parents):
            item.add_marker(pytest.mark.one_python)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works():
    """A shell ignores SIGINT in what it starts in the background; then Python takes no Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
