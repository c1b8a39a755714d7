"""Programs of C++: built by a CMake project of their own against an installed copy, and run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import haz
import pytest
from haz.testing import leak_check

from tests.e2e.cpp_programs import BUILD_DEADLINE_S, EXAMPLES, run

pytestmark = pytest.mark.timeout(BUILD_DEADLINE_S + 60)

#: What lines of an example's output must be, in this order.
EXPECTED = {
    "hello": ["hello, world"],
    "tree_reduction": [
        r"chain: 36, after the time of (\d\d|[7-9])",
        r"tree: 36, after the time of \d",
    ],
    "monte_carlo": [r"10 of 40 tasks: pi is about 3\.1", r"40 of 40 tasks: pi is about 3\.1"],
    "call_python": [
        "half of 5 is 2.5",
        "  the quick",
        "TypeError: must be real number, not str",
    ],
    "actors": ["saved: 200", "account::withdraw: not enough money"],
    "parameter_server": [r"round 200: y = (2\.9\d|3\.0\d) x -(1\.9\d|2\.0\d)"],
    "matrix_product": [r"\(200, 200\), same as here: yes"],
}
ARGUMENTS = {"call_python": [sys.executable]}


@pytest.fixture
def life(built):
    def run_life(way, code=0):
        with leak_check():
            done = subprocess.run(
                [built / "life", way],
                capture_output=True,
                text=True,
                timeout=100,
                stdin=subprocess.DEVNULL,
            )
        assert done.returncode == code, f"{way}: {done.stdout}\n{done.stderr}"
        return done

    return run_life


def test_every_example_is_known():
    assert {path.stem for path in EXAMPLES.glob("*.cpp")} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_example(built, name):
    with leak_check():
        done = run(built / "examples" / name, *ARGUMENTS.get(name, ()))
    assert done.stderr == ""
    rest = iter(done.stdout.splitlines())
    for pattern in EXPECTED[name]:
        assert any(re.match(pattern, line) for line in rest), f"no {pattern!r} in {done.stdout}"


def test_static_initialisers_run_once_and_buffered_text_is_written_once(life):
    assert life("plain").stdout == "before init, 1\n"


def test_output_of_tasks_is_shown_with_their_names(life):
    done = life("output")
    lines = [re.sub(r"pid=\d+", "pid", line) for line in done.stdout.splitlines()]
    assert "before init, (print pid) one by printf" in lines
    assert "(print pid) one by cout" in lines
    assert "(renamed pid) two by printf" in lines
    assert "told" in lines
    errors = re.sub(r"pid=\d+", "pid", done.stderr)
    assert "(print pid) one by cerr\n" in errors
    assert "(renamed pid) two by cerr\n" in errors


def test_zygote_that_was_killed_is_replaced(life):
    # What stands before init() in main runs there again, and what it prints is not shown.
    assert life("zygote").stdout == "before init, another zygote, initialised 1 times\n"


def test_haz_can_be_started_again(life):
    assert life("again").stdout.endswith("1\n")


def test_loops_of_a_task_have_its_cpus(life):
    assert life("threads").stdout.endswith("1 3\n")


def test_no_python_is_loaded(life):
    assert life("python").stdout == "before init, "


def test_views_and_refs_outlive_the_runtime(life):
    lines = life("outlive").stdout.splitlines()
    assert lines[0] == "before init, 2.5 0"
    assert "is of a run of haz that has ended" in lines[1]


def test_exit_ends_everything(life):
    life("exit", code=3)


def test_program_that_has_threads_before_init(built):
    with leak_check():
        assert run(built / "early_thread").stdout == "42\n"


#: What the program `python` calls.
MODEL = """
import os, time

def sums(groups):
    return {name: sum(numbers) for name, numbers in groups.items()}

def doubled(x):
    import numpy
    assert type(x) is numpy.ndarray and not x.flags.writeable
    return 2 * x

class Person:
    @staticmethod
    def greet(name):
        print("greeting", name)
        return f"hello, {name}"

def nested(count):
    import haz

    @haz.remote
    def increment(x):
        return x + 1

    return sum(haz.get([increment.remote(i) for i in range(count)]))

def fail(text):
    raise KeyError(text)

def text():
    return "text"

def crash():
    os._exit(9)

def sleep():
    time.sleep(60)
"""


@pytest.fixture
def with_python(built, tmp_path):
    """Run the program `python`, which finds the module `model` in its folder."""
    (tmp_path / "model.py").write_text(MODEL, encoding="utf-8")

    def run_python(way, interpreter=sys.executable):
        with leak_check():
            return run(built / "python", way, interpreter, cwd=tmp_path).stdout.splitlines()

    return run_python


def test_values_go_to_python_and_come_back(with_python):
    lines = [re.sub(r"pid=\d+", "pid", line) for line in with_python("values")]
    lines.remove("(renamed pid) greeting Ada")
    assert lines == ["5", "a 3", "b 0", "10 20", "hello, Ada"]


def test_workers_of_both_languages_in_one_program(with_python):
    assert with_python("both") == ["0 7", "15"]


def test_errors_of_python_in_cpp(with_python):
    lines = with_python("errors")
    assert lines[:3] == ["KeyError: 'sad'", "1", "type: expected int, not a str"]
    rest = "\n".join(lines[3:])
    for said in (
        "module: task no_such.f",
        "No module named 'no_such'",
        "has no attribute 'nope'",
        "empty: haz::py_function() takes the names",
        "exited with code 9",
        "timeout: task model.sleep has run longer",
    ):
        assert said in rest
    assert lines[-1] == "10"


def test_program_without_an_interpreter(with_python, tmp_path):
    missing, forty = with_python("none", "/nowhere/python")
    assert "there is no program '/nowhere/python'" in missing
    assert forty == "40"
    without_haz = tmp_path / "python"
    without_haz.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    without_haz.chmod(0o755)
    missing, forty = with_python("none", without_haz)
    assert "can't import it: ModuleNotFoundError" in missing
    assert forty == "40"


def test_pkg_config_finds_it(installed, tmp_path):
    if shutil.which("pkg-config") is None:
        pytest.skip("no pkg-config")
    files = next(installed.rglob("haz.pc")).parent
    flags = run("pkg-config", "--cflags", "--libs", "haz", env={"PKG_CONFIG_PATH": str(files)})
    program = tmp_path / "hello"
    run("c++", EXAMPLES / "hello.cpp", "-o", program, *flags.stdout.split())
    assert run(program).stdout == "hello, world\n"


#: What must not compile, and what the compiler must say.
WRONG = {
    "takes as many arguments": "haz::task(square).remote(1, 2);",
    "can't be converted to the type": 'haz::task(square).remote("one");',
    "of another type than the parameter": "haz::task(square).remote(haz::put(std::string()));",
    "takes as many ranges": "std::vector<int> x; haz::task(square).map(x, x);",
    "can be gone through twice": "haz::task(square).map(3);",
    "a method of another class": "haz::make_actor<a>().call(&b::g);",
    "as many arguments as it has parameters": "haz::make_actor<a>().call(&a::f, 1, 2);",
    "as many arguments as the constructor": "haz::make_actor<a>(1);",
    "can't pass values of this type": "struct file { virtual ~file(); }; haz::put(file());",
    "register it with HAZ_ACTOR": "haz::make_actor<none>();",
    "values of this type to another process": "const none one; haz::put(one);",
}
WRONG_FUNCTIONS = {
    "can't take a reference to something": "void f(int& x) { ++x; } HAZ_REMOTE(f);",
    "can't take a pointer": "void f(int* x) { ++*x; } HAZ_REMOTE(f);",
    "returns a value, no pointer and no reference": "int& f() { static int x; return x; } "
    "HAZ_REMOTE(f);",
    "give it a default constructor": "struct p { int x; p(int y) : x(y) {} }; "
    "auto haz_fields(p& one) { return std::tie(one.x); } void f(p) {} HAZ_REMOTE(f);",
    "calls a function once for each item": "void f() {} HAZ_REMOTE(f); "
    "void many() { haz::task(f).map(); }",
    "not long double": "void f(long double) {} HAZ_REMOTE(f);",
}


CLASSES = """
struct a { int f(int x) { return x; } };
HAZ_ACTOR(a(), &a::f);
struct b { int g() { return 1; } };
HAZ_ACTOR(b(), &b::g);
struct none { none() = default; none(const none&) = delete; int x = 0; };
"""

COMPILERS = [one for one in ("g++", "clang++") if shutil.which(one)]


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("said", [*WRONG, *WRONG_FUNCTIONS])
def test_what_makes_no_sense_does_not_compile(said, compiler, tmp_path):
    file = tmp_path / "wrong.cpp"
    file.write_text(
        "#include <haz/haz.h>\n"
        "int square(int x) { return x * x; }\nHAZ_REMOTE(square);\n"
        f"{CLASSES}\n"
        f"{WRONG_FUNCTIONS.get(said, '')}\nvoid use() {{ {WRONG.get(said, '')} }}\n"
    )
    done = subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", f"-I{haz.get_include()}", str(file)],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_examples_compile_without_a_warning(compiler):
    for example in EXAMPLES.glob("*.cpp"):
        flags = ("-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror")
        run(compiler, *flags, f"-I{haz.get_include()}", example)


def test_a_checkout_says_where_its_library_can_be_had():
    with pytest.raises(RuntimeError, match="--component cpp"):
        haz.get_cmake_dir()
