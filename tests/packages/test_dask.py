"""haz.dask.get computes dask's collections, as dask's own schedulers do."""

from __future__ import annotations

import operator
import os

import dask
import dask.array
import dask.bag
import dask.dataframe
import haz
import haz.dask
import numpy
import pandas
import pytest
from dask.callbacks import Callback
from dask.diagnostics import ProgressBar
from haz.testing import leak_check


@pytest.fixture(autouse=True)
def _runtime():
    with leak_check():
        haz.init(num_cpus=2)
        with dask.config.set(scheduler=haz.dask.get):
            yield
        haz.shutdown()


def test_graphs_of_tuples():
    graph = {"x": 1, "y": (operator.add, "x", 2), "z": (sum, ["x", "y", (abs, -4)]), "w": "z"}
    assert haz.dask.get(graph, "y") == 3
    assert haz.dask.get(graph, ["w", ["x", ["y"]], "z"]) == (8, (1, (3,)), 8)
    with pytest.raises(KeyError):
        haz.dask.get(graph, "nothing")
    with pytest.raises(RuntimeError, match="Cycle detected"):
        haz.dask.get({"x": (abs, "y"), "y": (abs, "x")}, "x")


def test_arrays():
    numbers = numpy.random.default_rng(0).random((600, 500))
    array = dask.array.from_array(numbers, chunks=(100, 100))
    assert numpy.allclose(
        (array @ array.T).sum(axis=0).compute(), (numbers @ numbers.T).sum(axis=0)
    )
    result = (array + 1).compute()
    result += 1  # writable
    assert numpy.array_equal(result, numbers + 2)
    assert array.std().compute() == pytest.approx(numbers.std())


def test_data_frames():
    frame = pandas.DataFrame({"key": [n % 7 for n in range(1000)], "value": range(1000)})
    parts = dask.dataframe.from_pandas(frame, npartitions=5)
    means = parts.groupby("key").value.mean().compute().sort_index()
    assert means.equals(frame.groupby("key").value.mean())
    joined = parts.merge(parts, on="key").value_x.sum().compute()
    assert joined == frame.merge(frame, on="key").value_x.sum()


def test_bags_and_delayed():
    bag = dask.bag.from_sequence(range(100), npartitions=7)
    assert bag.map(lambda x: x * x).filter(lambda x: x % 2).sum().compute() == sum(
        x * x for x in range(100) if x % 2
    )
    pids = [dask.delayed(os.getpid)() for _ in range(4)]
    assert os.getpid() not in dask.compute(*pids)
    total = dask.delayed(sum)([dask.delayed(pow)(x, 2) for x in range(10)])
    assert total.compute() == 285


def test_errors_are_the_users_own():
    def fail(x):
        return 1 // x

    with pytest.raises(ZeroDivisionError) as caught:
        (dask.delayed(fail)(0) + 1).compute()
    assert "in fail" in str(caught.value)
    assert dask.delayed(fail)(1).compute() == 1


def test_progress_and_callbacks(capsys):
    array = dask.array.ones((100, 100), chunks=10)
    told = []
    assert array.sum().compute(progress=lambda *numbers: told.append(numbers)) == 10_000
    assert told[-1][0] == told[-1][1] >= 100
    with ProgressBar(dt=0.01):
        array.sum().compute()
    assert "100% Completed" in capsys.readouterr().out
    seen = set()
    with Callback(posttask=lambda key, *_: seen.add(key)):
        array.sum().compute(optimize_graph=False)
    assert len(seen) >= 100
    with pytest.raises(TypeError, match="progress"):
        array.sum().compute(progress=3)


def test_what_is_made_is_dropped_when_it_was_used():
    """The chunks are four times what the store holds."""
    haz.shutdown()
    haz.init(num_cpus=2, object_store_memory=100_000_000)
    array = dask.array.ones((100, 500_000), chunks=(1, 500_000))  # of 4 MB each
    assert (array + 1).sum().compute(optimize_graph=False) == 100_000_000


def test_names_of_ray():
    from ray.util.dask import disable_dask_on_ray, enable_dask_on_ray, ray_dask_get

    pid = dask.delayed(os.getpid)
    assert pid().compute(scheduler=ray_dask_get) != os.getpid()
    with dask.config.set(scheduler="sync"):
        with enable_dask_on_ray():
            assert pid().compute() != os.getpid()
        assert pid().compute() == os.getpid()
        enable_dask_on_ray()
        assert pid().compute() != os.getpid()
        disable_dask_on_ray()
        assert dask.config.get("scheduler") is None


def test_number_of_workers(tmp_path):
    import time

    def work(number):
        path = tmp_path / str(number)
        path.touch()
        time.sleep(0.02)
        count = len(list(tmp_path.iterdir()))
        path.unlink()
        return count

    for num_workers in (1, 3):
        counts = dask.compute(*map(dask.delayed(work), range(12)), num_workers=num_workers)
        assert max(counts) <= num_workers
    with pytest.raises(ValueError, match="num_workers"):
        dask.delayed(abs)(1).compute(num_workers=0)


def test_an_executor_as_scheduler():
    with haz.Executor(2) as executor:
        array = dask.array.ones((100, 100), chunks=50)
        assert array.sum().compute(scheduler=executor) == 10_000
