"""progress= of pools' maps and of Executor.map."""

from __future__ import annotations

import haz
import haz.multiprocessing
import pytest
from haz.testing import wait_until

from tests.engines import ENGINES


@pytest.fixture(params=ENGINES)
def told(request):
    haz.init(engine=request.param, num_cpus=2)
    calls = []

    def tell(done, total, failed):
        calls.append((done, total, failed))

    tell.calls = calls
    return tell


def invert(x, y=1):
    return y / x


@pytest.mark.parametrize("name", ["map", "starmap"])
def test_a_map_of_a_pool_tells_how_far_it_is(told, name):
    items = range(1, 31) if name == "map" else [(x, 2) for x in range(1, 31)]
    with haz.multiprocessing.Pool(2) as pool:
        results = getattr(pool, name)(invert, items, chunksize=7, progress=told)
        assert len(results) == 30
        counts = [done for done, _, _ in told.calls]
        assert counts == sorted(counts)
        assert told.calls[-1] == (30, 30, 0)
        assert len(told.calls) == 5


def test_failures_are_counted(told):
    with haz.multiprocessing.Pool(2) as pool:
        result = pool.map_async(invert, [1, 0, 2, 0], chunksize=1, progress=told)
        with pytest.raises(ZeroDivisionError):
            result.get(60)
        assert told.calls[-1] == (4, 4, 2)
        with pytest.raises(TypeError, match="progress"):
            pool.map(invert, [1], progress=3)


def test_a_function_that_raises_costs_no_result(told, monkeypatch, capsys):
    def refuse(done, total, failed):
        raise ValueError("no")

    with haz.multiprocessing.Pool(2) as pool:
        assert pool.map(invert, [1, 2], progress=refuse) == [1, 0.5]
    assert "ValueError: no" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["imap", "imap_unordered"])
def test_an_iterator_of_a_pool_tells_how_many_results_were_taken(told, name, monkeypatch):
    closed = []
    monkeypatch.setattr("haz._faces.progress._Told.close", lambda _: closed.append(1))
    with haz.multiprocessing.Pool(1) as pool:
        results = getattr(pool, name)(invert, [1, 0, 2], progress=told)
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert not closed
        assert list(results) == [0.5]
        assert told.calls == [(1, 3, 0), (2, 3, 1), (3, 3, 1)]
        assert closed == [1]
        given_up = getattr(pool, name)(invert, iter([1, 2]), progress=told)
        next(given_up)
        del given_up
        assert told.calls[-1] == (1, None, 0)
        wait_until(lambda: closed == [1, 1], "the progress of what was given up to end")
        with pytest.raises(TypeError, match="progress"):
            getattr(pool, name)(invert, [1], progress=3)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_a_map_of_an_executor_tells_how_far_it_is(told, chunksize):
    with haz.Executor(2) as executor:
        results = executor.map(invert, [1, 2, 4, 0, 8], chunksize=chunksize, progress=told)
        with pytest.raises(ZeroDivisionError):
            list(results)
        done = 3
        assert told.calls == [(n, 5, 0) for n in range(1, done + 1)] + [(done + 1, 5, 1)]
        with pytest.raises(TypeError, match="progress"):
            executor.map(invert, [1], progress=3)
    assert list(haz.Executor(1).map(invert, iter([1]), progress=told)) == [1]
    assert told.calls[-1] == (1, None, 0)
