"""The notebook: ``%load_ext haz.cpp`` and ``%%haz_cpp``, in an IPython shell."""

from __future__ import annotations

import atexit
import sys

import numpy as np
import pytest

pytest.importorskip("IPython")

CELL = """%%haz_cpp
void suma_vectores(double gamma, haz::array<const double> x, haz::array<const double> y,
                   haz::array<double> z, int n_threads = 2) {
  haz::parallel_for(x.size(), {.num_threads = n_threads, .schedule = haz::schedule::guided}, [&](auto i) {
    z[i] = exp(-gamma * pow(x[i] - y[i], 2));
  });
}
"""
PRAGMA_CELL = """%%haz_cpp
void suma_vectores_pragma(double gamma, haz::array<const double> x, haz::array<const double> y,
                          haz::array<double> z, int n_threads = 2) {
  #pragma omp parallel for num_threads(n_threads) schedule(guided)
  for (int i = 0; i < x.size(); i++)
    z[i] = exp(-gamma * pow(x[i] - y[i], 2));
}
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A shell without history and without a terminal, which leaves the process as it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        patch.setattr(sys, "excepthook", sys.excepthook)
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        config = Config()
        config.HistoryManager.enabled = False
        shell = InteractiveShell(config=config)
        shell.run_line_magic("load_ext", "haz.cpp")
        yield shell
        shell.atexit_operations()
        atexit.unregister(shell.atexit_operations)
        shell.restore_sys_module_state()


@pytest.mark.parametrize(
    ("cell", "name"), [(CELL, "suma_vectores"), (PRAGMA_CELL, "suma_vectores_pragma")]
)
def test_the_loop_of_the_first_text(shell, cell, name):
    shell.run_cell(cell).raise_error()
    shell.run_cell(
        "import numpy as np\nx, y = np.random.randn(2, 10_000)\nz = np.empty_like(x)\n"
        f"{name}(1.0, x, y, z, 4)\n"
    ).raise_error()
    space = shell.user_ns
    assert np.allclose(np.exp(-1.0 * (space["x"] - space["y"]) ** 2), space["z"])


def test_a_module_and_flags(shell):
    shell.run_cell("%%haz_cpp --module work -DVALUE=5\nint f() { return VALUE; }").raise_error()
    assert shell.user_ns["work"].f() == 5
    assert "f" not in shell.user_ns


def test_checked_indices(shell):
    shell.run_cell(
        "%%haz_cpp --check-bounds\ndouble at(haz::array<const double> x, int i) { return x[i]; }"
    ).raise_error()
    with pytest.raises(IndexError):
        shell.user_ns["at"](np.zeros(3), 3)


def test_errors_show_the_line_of_the_cell(shell, capsys):
    result = shell.run_cell("%%haz_cpp\ndouble f(double x) {\n  return foo(x);\n}\n")
    assert not result.success
    shown = "".join(capsys.readouterr())
    assert "cell:3:10: error:" in shown
    assert "return foo(x);" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    "line", ["--nothing", "word", "--module", "--module 1x", "--compiler no-such-compiler"]
)
def test_wrong_options(shell, capsys, line):
    assert not shell.run_cell(f"%%haz_cpp {line}\nint f() {{ return 1; }}").success
    assert "UsageError" in "".join(capsys.readouterr())
