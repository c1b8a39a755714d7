"""haz.util.multiprocessing.Pool: on every engine."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest
from haz.exceptions import ActorDiedError
from haz.util.multiprocessing import Pool, TimeoutError


def test_maps_and_calls(engine):
    with Pool(2) as pool:
        assert pool.map(lambda x: x * x, range(50)) == [x * x for x in range(50)]
        assert pool.map(abs, []) == []
        assert pool.starmap(pow, [(2, 3), [3, 2]], chunksize=1) == [8, 9]
        assert pool.apply(divmod, (7, 2)) == (3, 1)
        assert pool.apply(dict, kwds={"a": 1}) == {"a": 1}
        assert list(pool.imap(str, range(20), chunksize=3)) == [str(x) for x in range(20)]
        assert sorted(pool.imap_unordered(abs, range(-9, 0))) == list(range(1, 10))


def test_results_and_callbacks(engine):
    told = []
    with Pool(2) as pool:
        result = pool.apply_async(abs, (-3,), callback=told.append)
        assert result.get(30) == 3
        assert result.ready()
        assert result.successful()
        bad = pool.map_async(
            lambda x: 1 // x, [1, 0], chunksize=1, callback=told.append, error_callback=told.append
        )
        bad.wait(30)
        assert not bad.successful()
        with pytest.raises(ZeroDivisionError):
            bad.get()
        assert pool.starmap_async(pow, [(2, 2)]).get(30) == [4]
    assert told[0] == 3
    assert isinstance(told[1], ZeroDivisionError)
    assert len(told) == 2


def test_an_error_in_imap_has_its_place(engine):
    with Pool(2) as pool:
        results = pool.imap(lambda x: 6 // x, [3, 0, 2, 1], chunksize=2)
        assert next(results) == 2
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == [3, 6]


def test_imap_reads_an_endless_iterable_as_it_is_read(engine):
    read = itertools.count()
    with Pool(2) as pool:
        results = pool.imap(lambda x: -x, (next(read) for _ in itertools.repeat(None)), 2)
        assert list(itertools.islice(results, 10)) == [-x for x in range(10)]
    assert next(read) <= 10 + 2 * 2 * 2


def test_an_iterable_that_fails(engine):
    def items():
        yield 1
        raise KeyError("no more")

    with Pool(2) as pool:
        results = pool.imap(abs, items())
        assert next(results) == 1
        with pytest.raises(KeyError, match="no more"):
            next(results)
        with pytest.raises(StopIteration):
            next(results)


def test_close_and_join(engine):
    pool = Pool(2)
    with pytest.raises(ValueError, match="still running"):
        pool.join()
    result = pool.map_async(abs, range(10))
    lazy = pool.imap(abs, range(-30, 0))
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.map(abs, [1])
    with pytest.raises(ValueError, match="not running"):
        pool.__enter__()
    pool.join()
    assert result.get(0) == list(range(10))
    assert list(lazy) == list(range(30, 0, -1))
    pool.join()


def test_initializer(engine):
    def initialize(value):
        os.environ["HAZ_TEST_POOL"] = value

    with Pool(2, initialize, ("set",)) as pool:
        assert pool.map(lambda _: os.environ["HAZ_TEST_POOL"], range(6)) == ["set"] * 6
    os.environ.pop("HAZ_TEST_POOL", None)

    def fail():
        raise KeyError("not today")

    with Pool(1, fail) as pool, pytest.raises(ActorDiedError, match="not today"):
        pool.apply(abs, (1,))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"processes": 0}, ValueError),
        ({"processes": "2"}, TypeError),
        ({"maxtasksperchild": 0}, ValueError),
        ({"initializer": 3}, TypeError),
    ],
)
def test_bad_arguments(engine, arguments, error):
    with pytest.raises(error):
        Pool(**arguments)


def test_bad_chunksize(engine):
    with Pool(1) as pool:
        for call in (pool.map, pool.imap):
            with pytest.raises(ValueError, match="1\\+"):
                call(abs, [1], chunksize=0)


def test_the_default_number_is_that_of_the_cpus(engine):
    with Pool() as pool:
        assert pool._processes == 2


@pytest.fixture
def native(engine):
    if engine != "native":
        pytest.skip("needs processes")


def test_terminate_ends_what_is_waited_for(native):
    pool = Pool(1)
    running = pool.apply_async(time.sleep, (600,))
    waiting = pool.apply_async(abs, (1,))
    with pytest.raises(TimeoutError):
        running.get(0.05)
    assert not waiting.ready()
    with pytest.raises(ValueError, match="not ready"):
        waiting.successful()
    threading.Timer(0.1, pool.terminate).start()
    for result in (running, waiting):
        with pytest.raises(ValueError, match="terminated"):
            result.get(60)
    pool.join()


def test_processes_that_die_are_replaced(native):
    with Pool(2) as pool:
        with pytest.raises(ActorDiedError):
            pool.apply(os._exit, (3,))
        assert pool.map(abs, range(20)) == list(range(20))


def test_maxtasksperchild(native):
    with Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(os.getpid) for _ in range(6)]
    assert len(set(pids)) == 3
    assert pids[0] == pids[1] != pids[2]


def test_a_long_call_does_not_hold_others_up(native):
    with Pool(2) as pool:
        long = pool.apply_async(time.sleep, (600,))
        assert [pool.apply(abs, (x,)) for x in range(20)] == list(range(20))
        assert not long.ready()
        pool.terminate()
        with pytest.raises(ValueError, match="terminated"):
            long.get(60)
