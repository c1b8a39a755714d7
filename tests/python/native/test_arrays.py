"""Arrays that lie in shared memory are, for NumPy, as those that it makes over a buffer."""

from __future__ import annotations

import haz
import pytest

np = pytest.importorskip("numpy")

#: As a NumPy to come might be, whose C API is not known.
WITHOUT_API = """
import numpy
core = getattr(numpy, "_core", None) or numpy.core
del core._multiarray_umath._ARRAY_API
"""

CHECK = """
import haz
import numpy as np

def arrays():
    cube = np.arange(60_000.0).reshape(20, 30, 100)
    yield cube
    yield np.asfortranarray(cube)
    yield cube.reshape(1, 60_000, 1)
    yield np.asfortranarray(cube.reshape(60_000, 1))
    yield np.zeros((300, 0, 7))
    yield np.array(2.5)
    for kind in ("?", "i1", "u2", "f2", "f4", "u8", "c8", "c16"):
        yield (np.arange(100_000) % 100).astype(kind)

def expected(array):
    order = "C" if array.flags.c_contiguous else "F"
    made = np.ndarray(array.shape, array.dtype, array.tobytes("A"), 0, None, order)
    assert not made.flags.writeable
    return made

def check():
    for array in arrays():
        made, like = haz.get(haz.put(array)), expected(array)
        assert type(made) is np.ndarray
        assert made.dtype == like.dtype and made.shape == like.shape
        assert made.strides == like.strides and str(made.flags) == str(like.flags)
        assert np.array_equal(made, array)
        try:
            made.flags.writeable = True
        except ValueError:
            pass
        else:
            raise AssertionError("the array can be made writable")
"""


@pytest.fixture
def engine_run():
    haz.init(num_cpus=1, engine="native")
    yield
    haz.shutdown()


def test_arrays_are_as_numpy_makes_them(engine_run):
    scope = {}
    exec(CHECK, scope)
    scope["check"]()


def test_arrays_without_the_c_api_of_numpy(run_program):
    done = run_program(WITHOUT_API + CHECK + "haz.init(num_cpus=1)\ncheck()\nprint('same')\n")
    assert done.stdout.strip() == "same", done.stderr


def test_the_memory_lives_as_long_as_the_array(engine_run):
    array = haz.get(haz.put(np.arange(1_000_000)))
    part = array[10:20]
    base = part.base
    while isinstance(base, np.ndarray):
        base = base.base
    assert base is not None
    del array
    for value in range(5):
        haz.put(np.full(1_000_000, value))
    assert part.tolist() == list(range(10, 20))


def test_arrays_of_a_pool_can_be_written(engine_run):
    import haz.multiprocessing

    with haz.multiprocessing.Pool(1) as pool:
        array = pool.apply(np.ones, (1_000_000,))
        assert array.flags.writeable
        assert array.flags.aligned
        array[:] = 3
        assert array.sum() == 3_000_000
