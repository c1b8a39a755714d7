"""Programs of C++, built once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.cpp_programs import BUILD_DEADLINE_S, EXAMPLES, run
from tests.e2e.programs import ROOT
from tests.once import made_once


def pytest_collection_modifyitems(items):
    for item in items:
        if "built" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(2 * BUILD_DEADLINE_S))


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The prefix of an installed copy, as ``cmake --install`` makes it."""
    build = ROOT / "build" / f"cp{sys.version_info[0]}{sys.version_info[1]}"
    cmake = Path(sys.executable).parent / "cmake"

    def install(prefix):
        run(cmake, "--install", build, "--component", "cpp", "--prefix", prefix)

    return made_once(tmp_path_factory, "prefix", install)


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

    return made_once(tmp_path_factory, "programs", build)
