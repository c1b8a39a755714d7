"""Programs of C++, built once, also where several processes share the tests (pytest-xdist)."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from tests.e2e.cpp_programs import BUILD_DEADLINE_S, EXAMPLES, run
from tests.e2e.programs import ROOT


def pytest_collection_modifyitems(items):
    for item in items:
        if "built" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(2 * BUILD_DEADLINE_S))


def _made_once(tmp_path_factory, name, make):
    """Return the folder `name`, which the first process to come has filled by ``make(folder)``."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The prefix of an installed copy, as ``cmake --install`` makes it."""
    build = ROOT / "build" / f"cp{sys.version_info[0]}{sys.version_info[1]}"
    cmake = Path(sys.executable).parent / "cmake"

    def install(prefix):
        run(cmake, "--install", build, "--component", "cpp", "--prefix", prefix)

    return _made_once(tmp_path_factory, "prefix", install)


@pytest.fixture(scope="session")
def built(installed, tmp_path_factory):
    """The folder of the built programs and, below it, of the examples."""
    cmake = Path(sys.executable).parent / "cmake"
    ninja = cmake.with_name("ninja")

    def build(folder):
        run(
            *(cmake, "-S", ROOT / "tests" / "e2e" / "cpp", "-B", folder, "-G", "Ninja"),
            *(f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DCMAKE_PREFIX_PATH={installed}"),
            *(f"-DHAZ_EXAMPLES={EXAMPLES}", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O0"),
        )
        run(cmake, "--build", folder, "-j", "2")

    return _made_once(tmp_path_factory, "programs", build)
