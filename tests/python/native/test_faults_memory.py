"""Memory that runs short, is kept by views, and is written to by processes that should not."""

from __future__ import annotations

import gc
import os
import random
import resource
import sys
import threading
import time

import haz
import pytest
from haz.exceptions import HazError, ObjectStoreFullError, TaskCancelledError, WorkerCrashedError
from haz.testing import wait_until

from tests.python.native.fault_program import run_scenario
from tests.python.native.fault_tools import (
    counts,
    is_empty,
    kill,
    raised,
    touch,
    touched,
    workers,
    world,
)
from tests.python.native.scribbling import WAYS, scribble

# ---- the limit -----------------------------------------------------------------------------------


def beyond_the_limit():
    MB = 1_000_000

    @haz.remote(max_retries=0)
    def puts(size):
        return haz.put(bytes(size))

    @haz.remote(max_retries=0)
    def returns(size):
        return bytes(size)

    @haz.remote(max_retries=0, num_returns=2)
    def returns_two(size):
        return bytes(size), bytes(size)

    @haz.remote
    def takes(data):
        return len(data)

    with world(object_store_memory=60 * MB):
        # More than there can ever be: at once, at the call.
        for size in (61 * MB, 1000 * MB):
            error = raised(haz.put, bytes(size))
            assert isinstance(error, ObjectStoreFullError), repr(error)
            assert "object_store_memory" in str(error)
            assert isinstance(raised(takes.remote, bytes(size)), ObjectStoreFullError)
            error = raised(haz.get, puts.remote(size))
            assert isinstance(error, ObjectStoreFullError), repr(error)
            error = raised(haz.get, returns.remote(size))
            assert isinstance(error, ObjectStoreFullError), repr(error)
        # More than is free now, and nobody could free any.
        held = [haz.put(bytes(10 * MB)) for _ in range(5)]
        assert isinstance(raised(haz.put, bytes(15 * MB)), ObjectStoreFullError)
        assert isinstance(raised(takes.remote, bytes(15 * MB)), ObjectStoreFullError)
        assert haz.get(haz.put(bytes(5 * MB))) == bytes(5 * MB)
        del held, error
        # Room comes back, again and again, in one piece.
        for _ in range(20):
            assert haz.get(takes.remote(haz.put(bytes(55 * MB)))) == 55 * MB
            assert haz.get(takes.remote(bytes(55 * MB))) == 55 * MB
            assert len(haz.get(returns.remote(55 * MB))) == 55 * MB
            assert len(haz.get(haz.get(puts.remote(55 * MB)))) == 55 * MB
            assert list(map(len, haz.get(returns_two.remote(25 * MB)))) == [25 * MB] * 2


def test_values_beyond_the_limit(tmp_path):
    run_scenario(beyond_the_limit, tmp_path)


def room_that_comes():
    MB = 1_000_000

    @haz.remote
    def returns(size):
        return bytes(size)

    @haz.remote
    def holds(data, name):
        touch(name + " holds")
        wait_until(lambda: touched(name + " go"))
        return len(data)

    @haz.remote(num_cpus=0)
    def puts(size, name):
        touch(name + " puts")
        return len(haz.get(haz.put(bytes(size))))

    with world(object_store_memory=60 * MB):
        # In the driver.
        ref = holds.remote(haz.put(bytes(40 * MB)), "one")
        wait_until(lambda: touched("one holds"))
        threading.Timer(0.1, touch, ("one go",)).start()
        assert len(haz.get(haz.put(bytes(40 * MB)))) == 40 * MB
        assert haz.get(ref) == 40 * MB
        # In a task, from another one.
        ref = holds.remote(haz.put(bytes(40 * MB)), "two")
        wait_until(lambda: touched("two holds"))
        waits = puts.remote(40 * MB, "two")
        wait_until(lambda: touched("two puts"))
        touch("two go")
        assert haz.get(waits) == 40 * MB
        # In tasks, from the driver.
        held = haz.put(bytes(40 * MB))
        refs = [puts.remote(30 * MB, f"three {i}") for i in range(3)]
        wait_until(lambda: touched("three 0 puts"))
        time.sleep(0.1)
        del held
        assert haz.get(refs) == [30 * MB] * 3
        # More results than fit at a time.
        total = 0
        refs = [returns.remote(15 * MB) for _ in range(20)]
        while refs:
            (ready,), refs = haz.wait(refs)
            total += len(haz.get(ready))
            del ready
        assert total == 300 * MB
        # A worker that waits for room can be interrupted and killed.
        held = haz.put(bytes(50 * MB))
        ref = puts.options(max_retries=0).remote(30 * MB, "four")
        wait_until(lambda: touched("four puts"))
        time.sleep(0.05)
        haz.cancel(ref)
        assert isinstance(raised(haz.get, ref), TaskCancelledError)
        ref = puts.options(max_retries=0).remote(30 * MB, "five")
        wait_until(lambda: touched("five puts"))
        for pid in workers():
            kill(pid)
        assert isinstance(raised(haz.get, ref), WorkerCrashedError)
        assert haz.get(puts.remote(1000, "six")) == 1000
        del held, ref, waits


def test_room_is_waited_for(tmp_path):
    run_scenario(room_that_comes, tmp_path)


def room_that_never_comes():
    MB = 1_000_000

    @haz.remote(max_retries=0)
    def puts(size):
        kept = []
        while True:
            kept.append(haz.put(bytes(size)))

    @haz.remote
    def sleeps():
        time.sleep(600)

    with world(object_store_memory=60 * MB, empty=False):
        refs = [puts.remote(10 * MB), puts.remote(MB)]
        for ref in refs:
            assert isinstance(raised(haz.get, ref), ObjectStoreFullError)
        del refs, ref
        wait_until(is_empty)
        held = [haz.put(bytes(MB)) for _ in range(55)]
        held.append(sleeps.remote())
        assert isinstance(raised(haz.put, bytes(20 * MB)), ObjectStoreFullError)


@pytest.mark.slow
def test_room_never_comes(tmp_path):
    run_scenario(room_that_never_comes, tmp_path)


def small_things_in_a_full_store():
    MB = 1_000_000

    @haz.remote
    def takes(*args, **kwargs):
        return sum(len(arg) for arg in (*args, *kwargs.values()))

    @haz.remote
    def ping(i):
        return i

    @haz.remote
    def sums(refs):
        return sum(haz.get(refs))

    @haz.remote
    def parent(n):
        refs = [haz.put(i) for i in range(n)]
        return sum(haz.get([takes.remote(b"x" * 500), sums.remote(refs)])), refs

    @haz.remote(num_returns=3000)
    def many():
        return [b"r" * 200 for _ in range(3000)]

    @haz.remote
    def fails():
        raise ValueError("why " * 5000)

    with world(object_store_memory=60 * MB):
        haz.get(ping.remote(1))
        held = [haz.put(bytes(10 * MB - 5000)) for _ in range(5)]
        while True:
            try:
                held.append(haz.put(bytes(200_000)))
            except ObjectStoreFullError:
                break
        assert haz.get(takes.remote(b"x" * 100, key=b"y" * 5000)) == 5100
        assert haz.get([ping.remote("p" * 300) for _ in range(2000)]) == ["p" * 300] * 2000
        refs = [haz.put(i) for i in range(6000)]
        assert haz.get(sums.remote(refs)) == 17_997_000
        total, refs = haz.get(parent.remote(3000))
        assert total == 500 + 4_498_500
        assert sum(haz.get(refs)) == 4_498_500
        assert haz.get(many.remote()) == [b"r" * 200] * 3000
        assert isinstance(raised(haz.get, fails.remote()), ValueError)
        near = [haz.put(b"n" * 900) for _ in range(1000)]
        assert haz.get(takes.remote(*near)) == 900_000
        del held, refs, near


def test_small_things_pass_in_a_full_store(tmp_path):
    run_scenario(small_things_in_a_full_store, tmp_path)


def few_descriptors(limit):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    @haz.remote(num_cpus=0, max_retries=0)
    def blocks(n):
        return haz.get(blocks.remote(n - 1)) + 1 if n else 0

    try:
        with world(empty=False):
            assert haz.get([blocks.remote(3) for _ in range(20)]) == [3] * 20
            print("worked")
    except (HazError, RuntimeError, OSError) as error:
        print(error)


@pytest.mark.parametrize("limit", [12, 16, 20, 24, 32, 64])
def test_few_descriptors(tmp_path, limit):
    finished = run_scenario(few_descriptors, tmp_path, limit=limit)
    if limit >= 24:
        assert finished.out == "worked\n"
    else:
        assert "worked" in finished.out or "open files" in finished.out, finished.out


def little_address_space(kind, limit):
    resource.setrlimit(getattr(resource, kind), (limit, limit))

    @haz.remote
    def one():
        return 1

    with world():
        assert haz.get(one.remote()) == 1
        assert len(haz.get(haz.put(bytes(1_000_000)))) == 1_000_000
    error = raised(haz.init, object_store_memory=limit)
    assert isinstance(error, (RuntimeError, ObjectStoreFullError)), repr(error)
    assert "ulimit" in str(error)


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_FSIZE"])
def test_little_address_space(tmp_path, kind):
    run_scenario(little_address_space, tmp_path, kind=kind, limit=2_000_000_000)


def too_little_for_any_store(kind, name, limit):
    resource.setrlimit(getattr(resource, kind), (limit, limit))
    error = raised(haz.init)
    assert f"{kind}, ulimit {name}" in str(error), error
    assert str(limit) in str(error), error
    if kind != "RLIMIT_NOFILE":
        assert "no smaller store would fit" in str(error), error


@pytest.mark.parametrize(
    ("kind", "name", "limit"),
    [
        ("RLIMIT_AS", "-v", 400_000_000),
        ("RLIMIT_FSIZE", "-f", 1_000_000),
        ("RLIMIT_NOFILE", "-n", 8),
    ],
)
def test_the_limit_is_named_that_is_too_low(tmp_path, kind, name, limit):
    run_scenario(too_little_for_any_store, tmp_path, kind=kind, name=name, limit=limit)


# ---- views ---------------------------------------------------------------------------------------


def views_keep_memory():
    import numpy

    MB = 1_000_000

    @haz.remote
    def keeps(array):
        sys.kept = array[1000:2000]
        return os.getpid()

    @haz.remote
    def forgets():
        total = sys.kept.sum()
        del sys.kept
        gc.collect()
        return total

    @haz.remote
    def forks(array):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if array.sum() == len(array) else 1)
        return os.waitpid(pid, 0)[1]

    with world(num_cpus=1, object_store_memory=60 * MB):
        ones = numpy.ones(20 * MB, numpy.uint8)
        ref = haz.put(ones)
        part = haz.get(ref)[5:10]
        assert haz.get(keeps.remote(ref)) in workers()
        assert haz.get(forks.remote(ref)) == 0
        # Views hold it, here and in the worker.
        del ref
        gc.collect()
        assert isinstance(raised(haz.put, bytes(45 * MB)), ObjectStoreFullError)
        assert part.tolist() == [1] * 5
        del part
        time.sleep(0.1)
        assert counts()["store_used_bytes"] >= 20 * MB
        assert haz.get(forgets.remote()) == 1000
        wait_until(is_empty)
        # A worker that dies lets go.
        assert haz.get(keeps.remote(ones)) in workers()
        assert counts()["store_used_bytes"] >= 20 * MB
        for pid in workers():
            kill(pid)


def test_views_keep_memory(tmp_path):
    run_scenario(views_keep_memory, tmp_path)


# ---- a process that scribbles --------------------------------------------------------------------


def scribbles(rounds):
    @haz.remote(max_retries=0)
    def scribbler(seed, how, when):
        rng = random.Random(seed)
        kept = [haz.put(bytes(100_000)), haz.put(bytes(5000))]
        if when == "thread":
            threading.Thread(target=lambda: [scribble(rng, how) for _ in range(1000)]).start()
            for i in range(20):
                kept.append(haz.put(bytes(3000)))
                kept.append(innocent.remote(i, b""))
            haz.get(kept[-1])
        scribble(rng, how)
        if when == "calls":
            kept.append(haz.put(bytes(3000)))
            haz.get(innocent.remote(1, b""))
        if when == "sleeps":
            time.sleep(600)
        if when == "returns":
            # Nothing good can come of what runs in this process now.
            threading.Timer(0.05, os._exit, (3,)).start()
            return kept
        os._exit(3)

    @haz.remote(max_retries=-1)
    def innocent(i, data):
        return i, len(data), len(haz.get(haz.put(bytes(20_000))))

    with world(empty=False):
        whole = haz.put(bytes(range(256)) * 4000)
        expected = bytes(range(256)) * 4000
        for n in range(rounds):
            how = WAYS[n % 4]
            when = ("calls", "sleeps", "thread", "returns")[n // 4 % 4]
            bad = scribbler.remote(n, how, when)
            good = [innocent.remote(i, whole) for i in range(30)]
            assert haz.get(good) == [(i, len(expected), 20_000) for i in range(30)]
            haz.wait([bad], timeout=0.3)
            haz.cancel(bad, force=True)
            try:
                result = haz.get(bad)
                # What it wrote may be anything, but it is its own.
                for ref in result:
                    try:
                        haz.get(ref, timeout=0.2)
                    except Exception as error:
                        print(how, when, type(error).__name__)
                del result
                ref = None
            except Exception as error:
                print(how, when, type(error).__name__, str(error)[:100])
            assert haz.get(innocent.remote(1, whole)) == (1, len(expected), 20_000)
            assert haz.get(whole) == expected
            del bad, good
        for pid in workers():
            kill(pid)
        del whole
        try:
            wait_until(is_empty, deadline_s=20)
        except AssertionError:
            raise AssertionError(f"the store is not empty: {counts()}") from None


@pytest.mark.parametrize("seed", [1])
def test_a_worker_scribbles_over_all_that_it_can_write(tmp_path, seed):
    run_scenario(scribbles, tmp_path, seed=seed, rounds=32)


def scribbles_later(how):
    sizes = (1100, 1100, 2000, 4096, 5000, 1100, 12_345, 30_000, 32_000, 1100)

    def filled(n, size):
        return bytes([n + 1]) * size

    @haz.remote
    def returns(n, size):
        return os.getpid(), filled(n, size)

    @haz.remote
    def puts(n, size):
        return os.getpid(), haz.put(filled(n, size))

    @haz.remote(max_retries=0)
    def scribbler():
        scribble(random.Random(1), how)
        os._exit(3)

    @haz.remote
    class Keeper:
        def returns(self, n, size):
            return filled(n, size)

        def scribble(self):
            scribble(random.Random(1), how)
            os._exit(3)

    # One process does it all, so the scribbling one is that which has written the values.
    with world(num_cpus=1, empty=False):
        kept = [haz.put(filled(99, 20_000))]
        for n, size in enumerate(sizes):
            kept += [returns.remote(n, size), puts.remote(n, size)]
        bad = scribbler.remote()  # at once after them
        inner = [haz.get(ref)[1] for ref in kept[2::2]]
        writers = {haz.get(ref)[0] for ref in kept[1:]}
        assert len(writers) == 1, writers
        assert isinstance(raised(haz.get, bad), WorkerCrashedError)
        assert writers.isdisjoint(pid for pid in workers())
        for n, size in enumerate(sizes):
            assert haz.get(kept[1 + 2 * n])[1] == filled(n, size), n
            assert haz.get(inner[n]) == filled(n, size), n
        assert haz.get(kept[0]) == filled(99, 20_000)

        keeper = Keeper.remote()
        values = [keeper.returns.remote(n, size) for n, size in enumerate(sizes)]
        haz.wait(values, num_returns=len(values))
        raised(haz.get, keeper.scribble.remote())
        assert haz.get(values) == [filled(n, size) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("how", ["ones", "some"])
def test_what_a_worker_has_returned_before_it_scribbles_is_whole(tmp_path, how):
    run_scenario(scribbles_later, tmp_path, how=how)
