"""Programs of C++, built once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e.cpp_programs import EXAMPLES, run
from tests.e2e.programs import ROOT


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """The prefix of an installed copy, as ``cmake --install`` makes it."""
    build = ROOT / "build" / f"cp{sys.version_info[0]}{sys.version_info[1]}"
    prefix = tmp_path_factory.mktemp("prefix")
    cmake = Path(sys.executable).parent / "cmake"
    run(cmake, "--install", build, "--component", "cpp", "--prefix", prefix)
    return prefix


@pytest.fixture(scope="session")
def built(installed, tmp_path_factory):
    """The folder of the built programs and, below it, of the examples."""
    folder = tmp_path_factory.mktemp("programs")
    cmake = Path(sys.executable).parent / "cmake"
    ninja = cmake.with_name("ninja")
    run(
        *(cmake, "-S", ROOT / "tests" / "e2e" / "cpp", "-B", folder, "-G", "Ninja"),
        *(f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DCMAKE_PREFIX_PATH={installed}"),
        *(f"-DHAZ_EXAMPLES={EXAMPLES}", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O0"),
    )
    run(cmake, "--build", folder, "-j", "2")
    return folder
