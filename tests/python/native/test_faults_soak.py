"""A mixed load while processes are killed at random: every ref ends with a value or an error."""

from __future__ import annotations

import os
import random
import threading
import time

import haz
import pytest
from haz.exceptions import GetTimeoutError, HazError

from tests.python.native.fault_program import run_scenario
from tests.python.native.fault_tools import SEED, counts, kill, workers, world


def soak(seconds):
    @haz.remote(max_retries=2)
    def square(x):
        time.sleep(random.random() * 0.003)
        return x * x

    @haz.remote(max_retries=1)
    def total(*parts):
        return sum(parts)

    @haz.remote(max_retries=1, num_returns=2)
    def split(data):
        return len(data), [haz.put(data)]

    @haz.remote(max_retries=1)
    def parent(n):
        refs = [square.remote(i) for i in range(n)]
        ready, rest = haz.wait(refs, num_returns=n // 2)
        return sum(haz.get(ready)) + sum(haz.get(rest))

    @haz.remote(max_retries=2)
    def items(n):
        for i in range(n):
            yield bytes(i * 100)

    @haz.remote
    def fails(x):
        raise ValueError(x)

    @haz.remote(max_restarts=3, max_task_retries=1)
    class Keeper:
        def __init__(self, first):
            self.kept = [first]

        def keep(self, value):
            self.kept = [*self.kept[-5:], value]
            return len(self.kept)

        def nested(self, n):
            return haz.get(parent.remote(n))

        def stream(self, n):
            yield from range(n)

    @haz.remote(max_restarts=-1)
    class Loop:
        async def echo(self, x):
            return x

        async def later(self, x):
            return await square.remote(x)

    stop = threading.Event()
    killed = 0

    def kill_some():
        nonlocal killed
        rng = random.Random(SEED)
        # Now and then only: an actor has to come up between two deaths.
        while not (stop.wait(rng.random() * 0.4) and killed):
            pids = workers()
            if rng.random() < 0.03:
                pids = [counts()["zygote_pid"]]
            if pids and pids[0]:
                kill(rng.choice(pids))
                killed += 1

    outcomes = {"value": 0, "error": 0}

    def end_of(ref):
        """The value of a ref, or None if it ended with an error: it has to end."""
        try:
            value = haz.get(ref, timeout=60)
        except GetTimeoutError:
            raise AssertionError(f"{ref} has no end: {counts()}") from None
        except (HazError, ValueError):
            outcomes["error"] += 1
            return None
        outcomes["value"] += 1
        return value

    def work(seed, end):
        rng = random.Random(seed)
        keepers = [Keeper.remote(bytes(rng.choice((10, 100_000)))) for _ in range(2)]
        loop = Loop.remote()
        while time.monotonic() < end or outcomes["value"] <= 100 or not killed:
            kind = rng.randrange(9)
            if kind == 0:
                refs = [square.remote(i) for i in range(40)]
                for i, ref in enumerate([*refs, total.remote(*refs)]):
                    assert end_of(ref) in (None, i * i if i < 40 else sum(k * k for k in range(40)))
            elif kind == 1:
                data = bytes(rng.choice((100, 5000, 300_000)))
                size, inner = split.remote(haz.put(data))
                assert end_of(size) in (None, len(data))
                found = end_of(inner)
                assert found is None or end_of(found[0]) in (None, data)
            elif kind == 2:
                assert end_of(parent.remote(10)) in (None, 285)
            elif kind == 3:
                try:
                    for i, ref in enumerate(items.remote(20)):
                        found = end_of(ref)
                        assert found is None or len(found) == 100 * i
                        if rng.random() < 0.05:
                            break
                except HazError:
                    pass
            elif kind == 4:
                assert end_of(fails.remote(total.remote(1))) is None
            elif kind == 5:
                refs = [square.remote(i) for i in range(30)]
                for ref in rng.sample(refs, 10):
                    haz.cancel(ref, force=rng.random() < 0.3)
                haz.wait(refs, num_returns=len(refs), timeout=60)
                for i, ref in enumerate(refs):
                    assert end_of(ref) in (None, i * i)
            elif kind == 6:
                at = rng.randrange(2)
                try:
                    refs = [keepers[at].keep.remote(haz.put(bytes(5000))) for _ in range(20)]
                    refs.append(keepers[at].nested.remote(4))
                    stream = keepers[at].stream.remote(5)
                except HazError:
                    refs, stream = [], []
                for ref in refs:
                    end_of(ref)
                try:
                    assert [end_of(ref) for ref in stream]
                except (HazError, AssertionError):
                    keepers[at] = Keeper.remote(b"again")
            elif kind == 7:
                refs = [loop.echo.remote(i) for i in range(20)]
                refs += [loop.later.remote(i) for i in range(5)]
                for ref in refs:
                    end_of(ref)
            else:
                haz.free([haz.put(bytes(rng.choice((10, 200_000))))])
                refs = [square.remote(1) for _ in range(20)]
                del refs

    failures = []

    def worker(seed, end):
        try:
            work(seed, end)
        except BaseException as error:
            failures.append(error)
            raise

    with world():
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=worker, args=(SEED * 10 + i, end), daemon=True)
            for i in range(3)
        ]
        killer = threading.Thread(target=kill_some, daemon=True)
        for thread in [*threads, killer]:
            thread.start()
        for thread in threads:
            thread.join(seconds + 90)
            assert not thread.is_alive(), f"a thread hangs: {counts()}"
        stop.set()
        killer.join()
        assert not failures, failures
        print(outcomes, killed, os.getpid())
        del threads, killer, thread
        assert haz.get(square.options(max_retries=-1).remote(7)) == 49


@pytest.mark.parametrize("seed", [1, 2])
def test_mixed_load_survives_random_kills(tmp_path, seed):
    run_scenario(soak, tmp_path, seed=seed, seconds=4, timeout_s=150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12])
def test_long_mixed_load_survives_random_kills(tmp_path, seed):
    run_scenario(soak, tmp_path, seed=seed, seconds=60, timeout_s=250)
