"""C++ functions over arrays: values, errors, threads."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import haz
import haz.cpp
import numpy as np
import pytest
from haz.cpp import CompileError, CompilerNotFoundError
from haz.testing import wait_until

SOURCE = r"""
#include <atomic>
#include <complex>
#include <stdexcept>
#include <tuple>

void gauss(double gamma, haz::array<const double> x, haz::array<const double> y,
           haz::array<double> z, int n_threads = 2) {
  haz::check_same_shape(x, y, z);
  haz::parallel_for(x.size(), {.num_threads = n_threads, .schedule = haz::schedule::guided},
                    [&](auto i) { z[i] = exp(-gamma * (x[i] - y[i]) * (x[i] - y[i])); });
}

double sum1(haz::array<const double> x) {
  return haz::parallel_reduce(x.size(), 0.0, [&](auto i) { return x(i); });
}
double weighted2(haz::array<const float, 2> x) {
  double sum = 0;
  for (int i = 0; i < x.shape(0); ++i)
    for (int j = 0; j < x.shape(1); ++j) sum += (10 * i + j) * x(i, j);
  return sum;
}
std::int64_t weighted3(haz::array<const std::int32_t, 3> x) {
  std::int64_t sum = 0;
  for (int i = 0; i < x.shape(0); ++i)
    for (int j = 0; j < x.shape(1); ++j)
      for (int k = 0; k < x.shape(2); ++k) sum += (100 * i + 10 * j + k) * x[i][j][k];
  return sum;
}
std::uint64_t weighted4(haz::array<const std::uint8_t, 4> x) {
  std::uint64_t sum = 0;
  for (int i = 0; i < x.shape(0); ++i)
    for (int j = 0; j < x.shape(1); ++j)
      for (int k = 0; k < x.shape(2); ++k)
        for (int l = 0; l < x.shape(3); ++l) sum += (1000 * i + 100 * j + 10 * k + l) * x(i, j, k, l);
  return sum;
}
double first_of_rows(haz::array<const double, 2, haz::contiguous> x) { return x(0, 0); }
void fill(haz::array<std::int64_t> x, std::int64_t value) {
  for (std::int64_t i = 0; i < x.size(); ++i) x[i] = value;
}
haz::owned_array<double, 2> outer(haz::array<const double> x, haz::array<const double> y) {
  auto z = haz::empty<double>(x.size(), y.size());
  haz::parallel_for(x.size(), [&](auto i) {
    for (std::int64_t j = 0; j < y.size(); ++j) z(i, j) = x[i] * y[j];
  });
  return z;
}
haz::owned_array<std::complex<float>> turned(haz::array<const std::complex<float>> x,
                                             std::complex<double> by) {
  auto z = haz::empty_like(x);
  for (std::int64_t i = 0; i < x.size(); ++i) z[i] = x[i] * std::complex<float>(by);
  return z;
}
haz::owned_array<bool> is_positive(haz::array<const std::int16_t> x) {
  auto z = haz::zeros<bool>(x.size());
  for (std::int64_t i = 0; i < x.size(); ++i) z[i] = x[i] > 0;
  return z;
}
std::tuple<double, haz::owned_array<std::int32_t>, bool> several(int n) {
  return {0.5, haz::zeros<std::int32_t>(n), true};
}
bool negated(bool value) { return !value; }
std::int8_t small(std::int8_t value) { return value; }
std::uint16_t unsigned_small(std::uint16_t value) { return value; }
std::uint64_t unsigned_large(std::uint64_t value) { return value; }
float single(float value) { return value; }
std::complex<double> conjugate(std::complex<double> value) { return std::conj(value); }
void nothing() {}
int with_defaults(int a, int b = 20, int c = 300) { return a + b + c; }
int unnamed(int, int) { return 7; }
int threads() { return haz::max_threads(); }
haz::owned_array<double> negative(int n) { return haz::empty<double>(n); }
haz::owned_array<double> huge() { return haz::empty<double>(std::int64_t{1} << 60); }

static std::atomic<int> flag{0};
void set_flag() { flag = 1; }
int wait_for_flag() {
  while (flag == 0) {}
  return flag.exchange(0);
}

struct Strange : std::exception {
  const char* what() const noexcept override { return "strange \xff"; }
};
void fail(int how) {
  haz::parallel_for(100, {.num_threads = 2}, [&](auto) {
    if (how == 0) throw haz::value_error("gamma is %g", 1.5);
    if (how == 1) throw haz::index_error("too far");
    if (how == 2) throw haz::error("went wrong");
    if (how == 3) throw std::invalid_argument("bad argument");
    if (how == 4) throw std::out_of_range("out of range");
    if (how == 5) throw std::bad_alloc();
    if (how == 6) throw Strange();
    if (how == 7) throw 7;
  });
}
"""


@pytest.fixture(scope="module")
def kernels(kernel_cache):
    with pytest.MonkeyPatch.context() as patch:
        kernel_cache.chmod(0o700)
        patch.setenv("HAZ_CPP_CACHE", str(kernel_cache))
        yield haz.cpp.compile(SOURCE)


# ---- values ------------------------------------------------------------------------------------


def test_the_loop_of_the_first_text(kernels):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 100_000))
    z = np.empty_like(x)
    for threads in (1, 2, 4, 8):
        z[:] = 0
        assert kernels.gauss(0.7, x, y, z, threads) is None
        assert np.allclose(np.exp(-0.7 * (x - y) ** 2), z)


def test_slices_of_all_kinds(kernels):
    x = np.arange(24.0)
    for view in (x, x[::2], x[::-1], x[5:5], x[3::7], x.reshape(4, 6)[:, 2]):
        assert kernels.sum1(view) == view.sum()


def test_two_to_four_dimensions(kernels):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    weights = 10 * np.arange(3)[:, None] + np.arange(4)
    assert kernels.weighted2(x) == (weights * x).sum()
    assert kernels.weighted2(x.T) == ((10 * np.arange(4)[:, None] + np.arange(3)) * x.T).sum()
    assert kernels.weighted2(x[::-1, ::2]) == (weights[:, :2] * x[::-1, ::2]).sum()
    assert kernels.weighted2(np.asfortranarray(x)) == (weights * x).sum()
    cube = np.arange(24, dtype=np.int32).reshape(2, 3, 4)[:, ::-1]
    i, j, k = np.indices(cube.shape)
    assert kernels.weighted3(cube) == ((100 * i + 10 * j + k) * cube).sum()
    four = np.arange(120, dtype=np.uint8).reshape(2, 3, 4, 5).transpose(3, 1, 0, 2)
    i, j, k, m = np.indices(four.shape)
    assert kernels.weighted4(four) == ((1000 * i + 100 * j + 10 * k + m) * four).sum()


def test_other_exporters_of_buffers(kernels):
    from array import array

    assert kernels.sum1(array("d", [1, 2, 3])) == 6
    assert kernels.sum1(memoryview(np.ones(5))) == 5
    numbers = array("q", [1, 2, 3])
    kernels.fill(numbers, -4)
    assert list(numbers) == [-4, -4, -4]


def test_arrays_are_written_in_place(kernels):
    x = np.zeros(10, dtype=np.int64)
    kernels.fill(x[1::3], 7)
    assert x.tolist() == [0, 7, 0, 0, 7, 0, 0, 7, 0, 0]


def test_returned_arrays(kernels):
    x, y = np.arange(3.0), np.arange(4.0)
    z = kernels.outer(x, y)
    assert z.dtype == np.float64
    assert np.array_equal(z, np.outer(x, y))
    assert z.flags.c_contiguous
    z[0, 0] = 5  # its own memory, and to be changed
    assert kernels.outer(x[:0], y).shape == (0, 4)
    turned = kernels.turned(np.array([1, 2j], dtype=np.complex64), 1j)
    assert turned.dtype == np.complex64
    assert turned.tolist() == [1j, -2]
    positive = kernels.is_positive(np.array([-1, 0, 1], dtype=np.int16))
    assert positive.dtype == np.bool_
    assert positive.tolist() == [False, False, True]


def test_several_results(kernels):
    half, zeros, truth = kernels.several(3)
    assert (half, zeros.tolist(), zeros.dtype, truth) == (0.5, [0, 0, 0], np.int32, True)


def test_memory_of_results_is_given_back(kernels):
    def resident_mb():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    x = np.ones(1000)
    kernels.outer(x, x)
    before = resident_mb()
    for _ in range(100):  # 8 MB each
        kernels.outer(x, x)
    gc.collect()
    assert resident_mb() < before + 200


def test_scalars(kernels):
    assert kernels.negated(True) is False
    assert kernels.negated(np.False_) is True
    assert kernels.small(-128) == -128
    assert kernels.small(np.int64(127)) == 127
    assert kernels.unsigned_small(65535) == 65535
    assert kernels.unsigned_large(2**64 - 1) == 2**64 - 1
    assert kernels.single(0.1) == float(np.float32(0.1))
    assert kernels.single(3) == 3.0
    assert kernels.single(np.float64(0.5)) == 0.5
    assert kernels.conjugate(1 + 2j) == 1 - 2j
    assert kernels.conjugate(3) == 3
    assert kernels.nothing() is None


def test_defaults_and_keywords(kernels):
    f = kernels.with_defaults
    assert (f(1), f(1, 2), f(1, 2, 3), f(1, b=2), f(c=3, b=2, a=1)) == (321, 303, 6, 303, 6)
    assert kernels.unnamed(1, 2) == 7


# ---- errors at the call ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda k: k.gauss(1.0, np.zeros(3, np.float32), np.zeros(3), np.zeros(3)),
            TypeError,
            r"gauss\(\): argument 2 'x' must be a 1-D array of float64, not a 1-D array of float32 "
            r'\(convert it: .astype\("float64"\)\)',
        ),
        (
            lambda k: k.gauss(1.0, np.zeros((3, 3)), np.zeros(3), np.zeros(3)),
            TypeError,
            r"gauss\(\): argument 2 'x' must be a 1-D array of float64, not a 2-D array of float64",
        ),
        (
            lambda k: k.gauss(1.0, [1.0], np.zeros(3), np.zeros(3)),
            TypeError,
            r"argument 2 'x' must be a 1-D array of float64, not list",
        ),
        (lambda k: k.sum1(None), TypeError, "argument 1 'x' must be .* not NoneType"),
        (lambda k: k.sum1(b"12345678"), TypeError, "not bytes"),
        (lambda k: k.sum1(np.zeros(3, ">f8")), TypeError, "not a 1-D array of items of format '>d'"),
        (lambda k: k.sum1(np.array(["a"])), TypeError, "must be a 1-D array of float64"),
        (lambda k: k.sum1(np.array([None])), TypeError, "must be a 1-D array of float64"),
        (lambda k: k.sum1(np.zeros(3, "M8[s]")), TypeError, "must be a 1-D array of float64"),
        (lambda k: k.sum1(np.float64(1)), TypeError, "not numpy.float64"),
        (lambda k: k.gauss("1", *[np.zeros(3)] * 3), TypeError, r"argument 1 'gamma' must be a number \(float64\), not str"),
        (lambda k: k.gauss(np.zeros(1), *[np.zeros(3)] * 3), TypeError, "not a 1-D array of float64"),
        (lambda k: k.gauss(1j, *[np.zeros(3)] * 3), TypeError, "not complex"),
        (lambda k: k.gauss(10**400, *[np.zeros(3)] * 3), OverflowError, "argument 1 'gamma' is an int too large"),
        (lambda k: k.with_defaults(1.5), TypeError, r"must be a number \(int32\), not float"),
        (lambda k: k.with_defaults(2**31), OverflowError, r"'a' must be a number \(int32\), and 2147483648 does not fit"),
        (lambda k: k.small(-129), OverflowError, "-129 does not fit"),
        (lambda k: k.unsigned_small(-1), OverflowError, "-1 does not fit"),
        (lambda k: k.unsigned_small(65536), OverflowError, "65536 does not fit"),
        (lambda k: k.unsigned_large(2**64), OverflowError, "does not fit"),
        (lambda k: k.negated(1), TypeError, "argument 1 'value' must be a bool, not int"),
        (lambda k: k.with_defaults(), TypeError, r"with_defaults\(\): argument 1 'a' is missing$"),
        (lambda k: k.with_defaults(1, 2, 3, 4), TypeError, "takes at most 3 arguments, got 4"),
        (lambda k: k.with_defaults(1, d=3), TypeError, r"with_defaults\(\) has no argument 'd'"),
        (lambda k: k.with_defaults(1, a=3), TypeError, "argument 1 'a' is given twice"),
        (lambda k: k.with_defaults(1, c=3), TypeError, "argument 2 'b' is missing: its default"),
        (lambda k: k.unnamed(1, "x"), TypeError, r"unnamed\(\): argument 2 must be"),
        (lambda k: k.first_of_rows(np.zeros((2, 4))[:, ::2]), ValueError, "must be contiguous"),
        (lambda k: k.gauss(1, np.zeros(3), np.zeros(3), np.zeros(4)), ValueError, "different shapes: axis 0 of the first has size 3, of number 3 size 4"),
    ],
)  # fmt: skip
def test_wrong_arguments(kernels, call, error, text):
    with pytest.raises(error, match=text):
        call(kernels)


def test_read_only_arrays_are_not_written_to(kernels):
    x = np.zeros(3, dtype=np.int64)
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"fill\(\): argument 1 'x' is written to, .* read-only"):
        kernels.fill(x, 1)
    assert x.tolist() == [0, 0, 0]
    y = np.ones(3)
    y.flags.writeable = False
    assert kernels.sum1(y) == 3


def test_odd_memory_is_refused(kernels):
    raw = np.zeros(33, dtype=np.uint8)
    with pytest.raises(ValueError, match="not aligned"):
        kernels.sum1(raw[1:].view(np.float64))
    record = np.zeros(4, dtype=[("a", "f8"), ("b", "i4")])
    with pytest.raises(ValueError, match="pass a copy"):
        kernels.sum1(record["a"])
    assert kernels.first_of_rows(np.ones((1, 3))) == 1


def test_arguments_are_released_after_errors(kernels):
    numbers = bytearray(80)
    view = np.frombuffer(numbers)
    with pytest.raises(TypeError):
        kernels.gauss(1.0, view, view, None)
    del view
    numbers.append(0)  # BufferError while somebody holds the buffer


@pytest.mark.parametrize(
    ("how", "error", "text"),
    [
        (0, ValueError, r"^gamma is 1\.5$"),
        (1, IndexError, "^too far$"),
        (2, RuntimeError, "^went wrong$"),
        (3, ValueError, "^bad argument$"),
        (4, IndexError, "^out of range$"),
        (5, MemoryError, "bad_alloc"),
        (6, RuntimeError, r"^fail\(\) threw Strange: strange "),
        (7, RuntimeError, r"fail\(\) threw something that is no std::exception"),
    ],
)
def test_exceptions_of_the_function(kernels, how, error, text):
    with pytest.raises(error, match=text):
        kernels.fail(how)


def test_arrays_that_can_not_be_made(kernels):
    with pytest.raises(ValueError, match="can't have size -1"):
        kernels.negative(-1)
    with pytest.raises(MemoryError):
        kernels.huge()


def test_checked_indices():
    source = """
    double at(haz::array<const double, 2> x, int i, int j) { return x(i, j); }
    double row(haz::array<const double, 2> x, int i, int j) { return x[i][j]; }
    """
    checked = haz.cpp.compile(source, check_bounds=True)
    x = np.arange(6.0).reshape(2, 3)
    for function in (checked.at, checked.row):
        assert function(x, 1, 2) == 5
        for i, j in ((2, 0), (-1, 0), (0, 3), (0, -1)):
            with pytest.raises(IndexError, match="out of bounds for axis"):
                function(x, i, j)


# ---- threads and processes ---------------------------------------------------------------------


def test_the_gil_is_released(kernels):
    done = []
    waiting = threading.Thread(target=lambda: done.append(kernels.wait_for_flag()))
    waiting.start()
    assert done == []  # this thread runs while the other one spins in C++
    kernels.set_flag()
    waiting.join()
    assert done == [1]


def test_a_forked_child_can_run_loops(kernels):
    # The parent has a team of threads, which the child lacks.
    x = np.ones(1000)
    kernels.gauss(1.0, x, x, np.empty(1000), 4)
    child = os.fork()
    if child == 0:
        z = np.empty(1000)
        try:
            kernels.gauss(1.0, x, x, z, 4)
        finally:
            os._exit(0 if (z == 1).all() else 1)
    statuses = []

    def has_ended():
        pid, status = os.waitpid(child, os.WNOHANG)
        statuses.append(status)
        return pid == child

    try:
        wait_until(has_ended, "the child to end")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert statuses[-1] == 0
    z = np.empty(1000)
    kernels.gauss(1.0, x, x, z, 4)
    assert (z == 1).all()


def test_openmp_is_told_the_number_of_threads(kernels):
    before = kernels.threads()
    haz._native.set_library_threads(3)
    assert kernels.threads() == 3
    haz._native.set_library_threads(before)
    assert kernels.threads() == before


# ---- what Python sees --------------------------------------------------------------------------


def test_signatures_and_documentation(kernels):
    signature = inspect.signature(kernels.gauss)
    assert list(signature.parameters) == ["gamma", "x", "y", "z", "n_threads"]
    assert signature.parameters["x"].annotation == "a 1-D array of float64"
    assert signature.parameters["z"].default is inspect.Parameter.empty
    assert signature.parameters["n_threads"].default is ...
    assert inspect.signature(kernels.several).return_annotation.startswith("a number (float64), a")
    assert list(inspect.signature(kernels.unnamed).parameters) == ["argument_1", "argument_2"]
    assert "- x: a 1-D array of float64" in kernels.gauss.__doc__
    assert "n_threads: a number (int32), optional" in kernels.gauss.__doc__
    assert kernels.nothing.__name__ == "nothing"
    assert repr(kernels.nothing) == "<C++ function nothing>"


def test_the_module_object(kernels):
    assert "gauss" in dir(kernels)
    assert "flag" not in dir(kernels)
    with pytest.raises(AttributeError, match=r"no function 'gaus' for Python \(it has gauss, sum1"):
        kernels.gaus
    assert "gauss" in repr(kernels)


def test_kernels_can_be_pickled(kernels):
    again = pickle.loads(pickle.dumps(kernels.sum1))
    assert again is kernels.sum1  # of the same process: nothing is loaded twice
    assert pickle.loads(pickle.dumps(kernels)) is kernels
    program = "import pickle, sys; f = pickle.load(sys.stdin.buffer); print(f.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(kernels.sum1),
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"sum1\n"


# ---- compiling ---------------------------------------------------------------------------------


def compile_error(source, **options):
    with pytest.raises(CompileError) as raised:
        haz.cpp.compile(source, **options)
    return str(raised.value)


def test_errors_show_the_users_line():
    text = compile_error("\n\ndouble f(double x) {\n  return foo(x);\n}\n")
    assert "source:4:10: error: " in text
    assert "return foo(x);" in text
    assert "haz_unit" not in text
    assert "/tmp" not in text
    assert "cell:1:" in compile_error("double f(double x) { return y; }", name="cell")


@pytest.mark.parametrize(
    ("source", "line", "text"),
    [
        ("\nvoid f(const char* text) {}", 2, "arguments and results of a kernel are numbers"),
        ("\n\nvoid f(double& x) {}", 3, "can't change its argument through a reference"),
        ("\nlong double f() { return 1; }", 2, "arguments and results of a kernel are numbers"),
        ("void f(haz::array<double, 5> x) {}", 1, "haz::array has 1 to 4 dimensions"),
        ("struct S {};\n\nvoid f(haz::array<S> x) {}", 3, "items of a kernel's arrays are numbers"),
        ("\ndouble& f() { static double x; return x; }", 2, "a kernel returns values"),
    ],
)
def test_types_that_can_not_cross(source, line, text):
    message = compile_error(source)
    assert text in message
    assert f"source:{line}: error: " in message
    assert source.splitlines()[line - 1] in message
    assert ".h:" not in message  # where in haz's headers is of no use


def test_a_brace_that_does_not_close_is_named():
    message = compile_error("int f(int x) { return x; }\ndouble g(double x) {\n  return x;\n")
    assert "source:2: error: this '{' has no '}'" in message
    assert "has no '}'" not in compile_error("int f(int x) { return '{' + y; }")


def test_a_function_that_is_defined_nowhere_is_named():
    message = compile_error("int elsewhere(int);\nint f(int x) { return elsewhere(x); }")
    assert re.search(
        r"source uses (elsewhere\(int\)|_Z9elsewherei), which is defined nowhere", message
    )
    assert "-lname" in message


def test_a_compiler_that_says_nothing():
    assert "ended with 1, and said nothing" in compile_error(
        "int silent() { return 1; }", compiler="/bin/false"
    )


def test_demands_of_the_user_are_shown_whole():
    source = (
        'template <class T> struct S { static_assert(sizeof(T) == 1, "mine"); };\nS<int> f();\n'
    )
    message = compile_error(source + "int g() { return sizeof(S<int>); }")
    assert "source:1:" in message
    assert "mine" in message
    assert "source:3:" in message


def test_sources_without_a_function():
    assert "has no function for Python" in compile_error("static int f() { return 1; }")
    assert "has no function for Python" in compile_error("")
    assert "zero byte" in compile_error("int f() { return 1; }\0")
    message = compile_error("int f(int x) { return 1; }\nint f(double x) { return 2; }")
    assert "source:2: f() is there twice, before in line 1" in message
    assert "no plain function 'g'" in compile_error("int f() { return 1; }", functions=["g"])
    with pytest.raises(TypeError, match="must be a C\\+\\+ text or a path, not bytes"):
        haz.cpp.compile(b"int f() { return 1; }")


def test_chosen_functions():
    source = "int f() { return 1; }\nint g(int (*h)()) { return h(); }"
    module = haz.cpp.compile(source, functions=["f"])
    assert dir(module) == ["f"]
    assert module.f() == 1


def test_flags():
    source = "int f() { return VALUE; }"
    assert haz.cpp.compile(source, flags=["-DVALUE=3"]).f() == 3
    assert haz.cpp.compile(source, flags=["-DVALUE=4"]).f() == 4
    assert "VALUE" in compile_error(source)


def test_fast_math_stays_in_its_kernel():
    smallest = np.full(1, 5e-324)
    module = haz.cpp.compile("double fast(double x) { return exp(x); }", flags=["-ffast-math"])
    assert np.isclose(module.fast(1.0), np.e)
    # Loaded libraries can switch denormal numbers off for all of the thread.
    assert (smallest + smallest)[0] == 1e-323


def test_files_and_their_headers(tmp_path):
    header = tmp_path / "value.h"
    header.write_text("inline int value() { return 1; }\n")
    file = tmp_path / "work.cpp"
    file.write_text('#include "value.h"\nint f() { return value(); }\n')
    assert haz.cpp.compile(file).f() == 1
    header.write_text("inline int value() { return 2; }\n")
    from haz.cpp import _module

    _module._modules.clear()  # as in another process
    assert haz.cpp.compile(file).f() == 2
    file.write_text("int f() {\n  return nothing();\n}\n")
    assert f"{file}:2:" in compile_error(file)
    with pytest.raises(NotADirectoryError, match="nowhere"):
        haz.cpp.compile("int f() { return 1; }", include_dirs=[tmp_path / "nowhere"])


def test_without_a_compiler(monkeypatch, tmp_path):
    source = "int without_a_compiler() { return 1; }"
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompilerNotFoundError, match=r"apt-get install g\+\+"):
        haz.cpp.compile(source)
    with pytest.raises(CompilerNotFoundError, match="no compiler 'nvc'"):
        haz.cpp.compile(source, compiler="nvc")
    monkeypatch.setenv("CXX", "icpc -fast")
    with pytest.raises(CompilerNotFoundError, match="no compiler 'icpc -fast'"):
        haz.cpp.compile(source)


def test_headers_are_found():
    assert (Path(haz.get_include()) / "haz" / "parallel.h").is_file()


def test_max_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert haz.cpp.max_threads() == 3
    for odd in ("", "0", "-2", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", odd)
        assert haz.cpp.max_threads() == len(os.sched_getaffinity(0))


# ---- Ctrl-C --------------------------------------------------------------------------------------

#: Each would run for minutes.
SLOW = r"""
#include <chrono>
#include <thread>

static void wait_a_moment() { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }

void loop(haz::array<std::int64_t> began, int n_threads) {
  haz::parallel_for(1'000'000, {.num_threads = n_threads, .schedule = haz::schedule::dynamic, .chunk = 1},
                    [&](auto i) { began[0] = 1; wait_a_moment(); });
}
double sum(haz::array<std::int64_t> began, int n_threads) {
  return haz::parallel_reduce(100'000, {.num_threads = n_threads}, 0.0,
                              [&](auto i) { began[0] = 1; wait_a_moment(); return 1.0; });
}
double ones(int count) {
  return haz::parallel_reduce(count, {.num_threads = 1}, 0.0, [](auto) { wait_a_moment(); return 1.0; });
}
void plain(haz::array<std::int64_t> began, int) {
  for (;;) {
    began[0] = 1;
    wait_a_moment();
    haz::check_interrupt();
  }
}
haz::owned_array<double> stubborn(haz::array<std::int64_t> began, int n_threads) {
  auto result = haz::zeros<double>(10);
  try {
    loop(began, n_threads);
  } catch (...) {
  }
  return result;
}
"""


@pytest.fixture(scope="module")
def slow_kernels(kernels):  # which names the cache
    return haz.cpp.compile(SLOW, flags=["-O1"])


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("name", ["loop", "sum", "plain", "stubborn"])
def test_interrupt_ends_a_running_function(slow_kernels, name, n_threads):
    began = np.zeros(1, np.int64)

    def interrupt():
        wait_until(lambda: began[0] == 1)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        getattr(slow_kernels, name)(began, n_threads)
    sender.join()


def test_handler_that_does_not_raise_leaves_the_function_alone(slow_kernels):
    called = []
    before = signal.signal(signal.SIGUSR1, lambda *_: called.append(1))
    sender = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        sender.start()
        assert slow_kernels.ones(200) == 200  # 0.2 s
        assert called
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_sums_are_the_same_each_time(kernels):
    for size in (0, 1, 2, 7, 8, 9, 63, 64, 65, 511, 513, 4095, 4097, 100_003):
        x = np.random.default_rng(size).standard_normal(size)
        assert np.isclose(kernels.sum1(x), x.sum())
        assert kernels.sum1(x) == kernels.sum1(x)
