"""Objects come and go: nothing leaks, room is waited for where it can come."""

from __future__ import annotations

import gc
import random
import threading
import time

import haz
import pytest
from haz import exceptions

MB = 1_000_000


@pytest.fixture
def small_store():
    haz.init(engine="native", num_cpus=2, object_store_memory=100 * MB)


@haz.remote
def make(size):
    return b"x" * size


@haz.remote
def length(data):
    return len(data)


def test_arguments_and_results_are_freed(small_store):
    for _ in range(15):
        assert haz.get(length.remote(b"y" * (20 * MB))) == 20 * MB
        assert len(haz.get(make.remote(20 * MB))) == 20 * MB
        assert haz.get(length.remote(make.remote(20 * MB))) == 20 * MB


def test_results_that_nobody_wants_are_freed(small_store):
    for _ in range(15):
        make.remote(20 * MB)
        haz.get(length.remote(b""))
    assert len(haz.get(make.remote(60 * MB))) == 60 * MB


def test_objects_in_containers_are_freed(small_store):
    for _ in range(15):
        ref = haz.put([haz.put(b"z" * (20 * MB))])
        assert len(haz.get(haz.get(ref)[0])) == 20 * MB
        del ref


def test_refs_kept_by_a_task_after_it(small_store):
    @haz.remote
    def keep(refs):
        keep.__dict__["kept"] = refs
        return 1

    @haz.remote
    def inner(size):
        return [haz.put(b"i" * size)]

    for _ in range(10):
        refs = haz.get(inner.remote(20 * MB))
        assert len(haz.get(refs[0])) == 20 * MB
        del refs


def test_a_view_keeps_its_object(small_store):
    numpy = pytest.importorskip("numpy")
    array = haz.get(haz.put(numpy.full(20 * MB, 7, dtype="u1")))
    part = array[::1000]
    del array
    gc.collect()
    for _ in range(15):
        haz.put(b"o" * (20 * MB))
    assert (part == 7).all()


@pytest.mark.parametrize("seed", range(5))
def test_refs_dropped_in_any_order(small_store, seed):
    chooser = random.Random(seed)
    echo = haz.remote(lambda x: x)
    box = haz.remote(lambda x: [x[0], haz.put(x[1])])
    live = [haz.put(bytes([i]) * MB) for i in range(5)]
    expected = {ref: bytes([i]) * MB for i, ref in enumerate(live)}
    for _ in range(60):
        action = chooser.randrange(4)
        ref = chooser.choice(live)
        if action == 0:
            new = echo.remote(ref)
            expected[new] = expected[ref]
            live.append(new)
        elif action == 1:
            first, second = haz.get(box.remote([ref, 5]))
            assert first == ref
            assert haz.get(second) == 5
        elif action == 2 and len(live) > 3:
            live.remove(ref)
            del expected[ref]
        else:
            assert haz.get(ref) == expected[ref]
        del ref
    for ref in live:
        assert haz.get(ref) == expected[ref]


def test_put_waits_for_room_that_a_task_gives_back(small_store, gate):
    @haz.remote
    def hold(data, running, go):
        running.open()
        go.wait()
        return len(data)

    ref = hold.remote(b"h" * (60 * MB), gate("running"), gate("go"))
    gate("running").wait()
    start = time.monotonic()
    threading.Timer(0.3, gate("go").open).start()
    second = haz.put(b"p" * (60 * MB))
    assert time.monotonic() - start >= 0.3
    assert haz.get(ref) == 60 * MB
    assert len(haz.get(second)) == 60 * MB


def test_put_for_which_no_room_can_come(small_store):
    kept = haz.put(b"k" * (60 * MB))
    with pytest.raises(exceptions.ObjectStoreFullError):
        haz.put(b"p" * (60 * MB))
    assert len(haz.get(kept)) == 60 * MB


def test_queue_of_large_arguments(small_store):
    # 30 x 10 MB in a store of 100 MB: the caller has to wait for tasks to end.
    refs = [length.remote(b"q" * (10 * MB)) for _ in range(30)]
    assert haz.get(refs) == [10 * MB] * 30


def cycle(number):
    haz.init(engine="native", num_cpus=2)
    ref = haz.put(b"c" * MB)
    assert haz.get(length.remote(ref)) == MB
    if number % 2:
        del ref
    haz.shutdown()


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / MB


@pytest.mark.parametrize(
    "cycles", [20, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_cycles_leave_nothing(cycles):
    for number in range(5):
        cycle(number)
    gc.collect()
    before = resident_mb()
    for number in range(cycles):
        cycle(number)
    gc.collect()
    assert resident_mb() - before < 30
