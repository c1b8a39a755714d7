"""The library in the forms that it is installed in, and programs of other versions of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import haz
import pytest
from haz._core.cpp_library import _libhaz_path
from haz.testing import leak_check

from tests.e2e.cpp_programs import BUILD_DEADLINE_S, EXAMPLES, run
from tests.e2e.programs import ROOT

pytestmark = pytest.mark.timeout(2 * BUILD_DEADLINE_S)

MINOR = ".".join(haz.__version__.split(".")[:2])
CMAKE = Path(sys.executable).parent / "cmake"
NINJA = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={CMAKE.with_name('ninja')}")


def test_the_library_is_named_by_its_minor_version(installed):
    folder = next(installed.rglob("hazConfig.cmake")).parents[2]
    versioned = folder / f"libhaz.so.{MINOR}"
    assert versioned.resolve().name == f"libhaz.so.{haz.__version__}"
    assert (folder / "libhaz.so").resolve() == versioned.resolve()
    assert Path(_libhaz_path()).name == versioned.name


PROGRAM = """
#include <haz/runtime.h>
#include <haz/task.h>
#include <haz/version.h>

#include <cstdio>

int square(int x) { return x * x; }
HAZ_REMOTE(square);

int main(int argc, char** argv) {
  try {
    const auto runtime = haz::init(argc, argv);
    std::printf("%d %s\\n", haz::get(haz::task(square).remote(3)), haz::library_version());
  } catch (const haz::error& error) {
    std::printf("%s\\n", error.what());
  }
}
"""


@pytest.mark.slow
def test_headers_of_another_version_are_refused(tmp_path):
    headers = tmp_path / "include"
    shutil.copytree(haz.get_include(), headers)
    for file, name, number in (
        ("version.h", f'HAZ_VERSION "{haz.__version__}"', 'HAZ_VERSION "0.0.9"'),
        ("detail/abi.h", "abi_version = ", "abi_version = 1"),
    ):
        text = (headers / "haz" / file).read_text()
        assert name in text
        (headers / "haz" / file).write_text(text.replace(name, number))
    source = tmp_path / "work.cpp"
    source.write_text(PROGRAM)
    library = Path(_libhaz_path())
    compile_it = ("g++", "-std=c++20", "-O0", f"-I{headers}", source)
    link = (library, f"-Wl,-rpath,{library.parent}")

    program = tmp_path / "work"
    run(*compile_it, "-o", program, *link)
    with leak_check():
        said = run(program).stdout
    assert "headers of haz 0.0.9 (interface 1" in said
    assert f"library that runs is of haz {haz.__version__} (interface" in said

    functions = tmp_path / "libwork.so"
    run(*compile_it, "-shared", "-fPIC", "-o", functions)
    with pytest.raises(OSError, match=r"compiled with the headers of haz 0\.0\.9 \(interface 1"):
        haz.cpp_function(functions, "square")


def install(prefix, kind, *options):
    """Build the library with the options, and install it. The folder that ``haz_DIR`` names."""
    build = ROOT / "build" / kind  # kept: most of it is the same the next time
    run(CMAKE, "-S", ROOT, "-B", build, *NINJA, "-DHAZ_BUILD_PYTHON=OFF", "-Wno-dev", *options)
    run(CMAKE, "--build", build, "-j", "2", "--target", "haz")
    run(CMAKE, "--install", build, "--component", "cpp", "--prefix", prefix)
    return next(prefix.rglob("hazConfig.cmake")).parent


def check_programs(haz_dir, tmp_path):
    """Programs that find the library with CMake, with pkg-config and by hand."""
    build = tmp_path / "programs"
    sources = ROOT / "tests" / "e2e" / "cpp"
    run(
        *(CMAKE, "-S", sources, "-B", build, *NINJA, f"-Dhaz_DIR={haz_dir}"),
        *(f"-DHAZ_EXAMPLES={EXAMPLES}", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O0"),
    )
    run(CMAKE, "--build", build, "-j", "2", "--target", "hello", "actors", "life", "early_thread")
    with leak_check():
        assert run(build / "examples" / "hello").stdout == "hello, world\n"
        assert "account::withdraw: not enough money" in run(build / "examples" / "actors").stdout
        assert run(build / "early_thread").stdout == "42\n"
        for way, said in (("zygote", "another zygote"), ("outlive", "2.5 0"), ("threads", "1 3")):
            assert said in run(build / "life", way).stdout
    if shutil.which("pkg-config") is not None:
        files = haz_dir.parents[1] / "pkgconfig"
        flags = run("pkg-config", "--cflags", "--libs", "haz", env={"PKG_CONFIG_PATH": str(files)})
        run("c++", EXAMPLES / "hello.cpp", "-o", tmp_path / "hello", *flags.stdout.split())
        assert run(tmp_path / "hello").stdout == "hello, world\n"


@pytest.mark.slow
def test_static_library(tmp_path):
    haz_dir = install(tmp_path / "prefix", "static", "-DHAZ_STATIC=ON")
    assert [path.name for path in haz_dir.parents[1].glob("libhaz*")] == ["libhaz.a"]
    check_programs(haz_dir, tmp_path)
    needed = run("ldd", tmp_path / "programs" / "examples" / "hello").stdout
    assert "libhaz" not in needed


@pytest.mark.slow
def test_library_of_a_wheel(tmp_path):
    # A wheel is a zip file, in which a symbolic link would be a copy of the library.
    haz_dir = install(tmp_path / "prefix", "wheel-library", "-DSKBUILD=2")
    lib = haz_dir.parents[1]
    names = {path.name for path in lib.glob("libhaz*")}
    assert names == {"libhaz.so", f"libhaz.so.{MINOR}"}
    assert not any(path.is_symlink() for path in lib.iterdir())
    check_programs(haz_dir, tmp_path)
    by_hand = tmp_path / "by_hand"
    run(
        *("c++", "-std=c++20", f"-I{lib.parent / 'include'}", EXAMPLES / "hello.cpp"),
        *(f"-L{lib}", "-lhaz", f"-Wl,-rpath,{lib}", "-o", by_hand),
    )
    assert run(by_hand).stdout == "hello, world\n"
    loaded = subprocess.run(["ldd", by_hand], capture_output=True, text=True, check=True).stdout
    assert f"libhaz.so.{MINOR} => {lib}" in loaded
