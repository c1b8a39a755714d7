"""docs/loops.md: Cython's and Numba's prange in tasks, with as many threads as these have CPUs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.e2e.programs import ROOT, run_program

PAGE = (ROOT / "docs" / "loops.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _nobody_has_set_the_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def blocks(title, language):
    """Blocks of a section of the page."""
    section = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    return re.findall(rf"^```{language}\n(.*?)^```$", section.group(1), re.MULTILINE | re.DOTALL)


def run_section(title, tmp_path):
    (code,) = blocks(title, "python")
    (printed,) = blocks(title, "text")
    program = tmp_path / "program.py"
    program.write_text(code)
    assert run_program(program, cwd=tmp_path).stdout == printed


def test_cython(tmp_path):
    (code,) = blocks("Cython", "cython")
    (tmp_path / "loops.pyx").write_text(code)
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "loops.pyx"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    run_section("Cython", tmp_path)


def test_numba(tmp_path):
    (code,) = blocks("Numba", "numba")
    (tmp_path / "numba_loops.py").write_text(code)
    run_section("Numba", tmp_path)


NUMBA_THREADS = """
import os
os.environ["NUMBA_NUM_THREADS"] = "3"
import haz

def threads(number):
    import numba
    before = numba.get_num_threads()
    if number:
        numba.set_num_threads(number)
    return os.getpid(), before

haz.init(num_cpus=3)
threads = haz.remote(threads)
seen = []
for cpus, own in [(1, 2), (2, 0), (3, 0), (1, 3), (1, 0), (2, 1), (3, 0)] * 2:
    pid, number = haz.get(threads.options(num_cpus=cpus).remote(own))
    seen.append((pid, cpus, number))
print(len({pid for pid, _, _ in seen}))
print([number for _, _, number in seen])
"""


def test_threads_of_numba_are_those_of_each_task(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(NUMBA_THREADS)
    processes, numbers = run_program(program, cwd=tmp_path).lines
    assert (processes, numbers) == ("1", str([1, 2, 3, 1, 3, 2, 3] * 2))


# The cell of a course (text 001), which is not changed for tasks.
CELL = """
%%cython --compile-args=-fopenmp --link-args=-fopenmp
cimport cython
from cython.parallel cimport prange

cdef extern from "math.h" nogil:
    double exp (double)

@cython.boundscheck(False)
@cython.wraparound(False)
def suma_vectores_openmp(double gamma, double [::1] x, double [::1] y, double [::1] z, int n_threads=2):
    cdef:
        Py_ssize_t i
        int N = x.shape[0]
    with nogil:
        for i in prange(N, num_threads=n_threads, schedule='guided'):
            z[i] = exp(-gamma*(x[i] - y[i])**2)
"""
NOTEBOOK = """
import numpy as np

def work(gamma):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 10_000))
    z = np.empty_like(x)
    suma_vectores_openmp(gamma, x, y, z, 2)
    return bool(np.allclose(np.exp(-gamma * (x - y) ** 2), z))

haz.init(num_cpus=2)
print(haz.get([haz.remote(work).remote(gamma) for gamma in (0.5, 1.0)]))
haz.shutdown()
"""


def test_cython_in_a_notebook(tmp_path):
    pytest.importorskip("IPython")
    (setup,) = blocks("Cython in a notebook", "ipython")
    cells = [setup, CELL.lstrip(), NOTEBOOK]
    program = tmp_path / "notebook.py"
    program.write_text(
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells!r}:\n"
        "    shell.run_cell(cell, store_history=False).raise_error()\n"
    )
    finished = run_program(program, cwd=tmp_path, IPYTHONDIR=str(tmp_path / "ipython"))
    assert finished.lines[-1] == "[True, True]"
