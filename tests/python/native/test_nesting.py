"""Tasks that wait for tasks when all processes there may be do so."""

from __future__ import annotations

import random
import sys
import threading
import time

import haz
import pytest
from haz import _native
from haz.exceptions import GetTimeoutError, TaskCancelledError


@haz.remote
def countdown(n):
    return 0 if n == 0 else haz.get(countdown.remote(n - 1)) + 1


def test_a_thousand_deep():
    haz.init(num_cpus=1)
    assert haz.get(countdown.remote(1000)) == 1000
    assert haz.get(countdown.remote(3)) == 3


def frames(n):
    return 0 if n == 0 else 1 + frames(n - 1)


def test_each_task_has_the_whole_recursion_limit(monkeypatch):
    haz.init(num_cpus=1)

    @haz.remote
    def deep(n):
        if n == 0:
            return frames(600)
        return below(n, 100)

    def below(n, more):
        return below(n, more - 1) if more else haz.get(deep.remote(n - 1))

    # Far more tasks than processes: most of them lie on top of others.
    assert haz.get(deep.remote(120)) == 600

    @haz.remote
    def limit():
        return sys.getrecursionlimit()

    assert haz.get(limit.remote()) == sys.getrecursionlimit()


def test_a_nested_task_that_recurses_for_ever_fails_alone():
    haz.init(num_cpus=1)

    @haz.remote
    def chain(n):
        if n == 0:
            return frames(10**9)
        try:
            return haz.get(chain.remote(n - 1))
        except RecursionError:
            return "caught"

    assert haz.get(chain.remote(60)) == "caught"


def test_threads_wait_in_all_processes():
    haz.init(num_cpus=1)

    @haz.remote(num_cpus=0)
    def inner(i):
        return i

    @haz.remote(num_cpus=0)
    def parent(i):
        found = []

        def wait():
            time.sleep(0.2)  # until the other parents have begun, too
            found.append(haz.get(inner.remote(i)))

        threads = [threading.Thread(target=wait) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    count = 100
    assert haz.get([parent.remote(i) for i in range(count)]) == [[i, i] for i in range(count)]
    # A few more than the cap, but not one for each parent.
    assert len(_native.snapshot()["worker_pids"]) < count


def test_waits_that_end_while_what_they_wait_for_is_on_its_way():
    # A nested task that was sent to a process whose wait has just ended runs there all the same, since
    # the thread that is joined then may wait for it.
    haz.init(num_cpus=1)

    @haz.remote(num_cpus=0)
    def inner(i):
        time.sleep(0.002)
        return i

    @haz.remote(num_cpus=0)
    def parent(i):
        rng = random.Random(i)
        found = []
        for _ in range(4):
            ref = inner.remote(i)
            thread = threading.Thread(target=lambda ref=ref: found.append(haz.get(ref)))
            thread.start()
            try:
                haz.get(ref, timeout=rng.uniform(0, 0.03))
            except GetTimeoutError:
                pass
            thread.join()
        return found

    for round in range(3):
        numbers = range(round * 1000, round * 1000 + 150)
        assert haz.get([parent.remote(i) for i in numbers], timeout=80) == [
            [i] * 4 for i in numbers
        ]


def test_by_force_the_others_in_the_process_lose_no_try(gate, tally):
    # All processes there may be are in use, so that the lowest tasks lie on top of others.
    haz.init(num_cpus=1)

    @haz.remote
    class Keeper:
        def __init__(self):
            self.kept = []

        def keep(self, refs):
            self.kept.append(refs)

        def take(self):
            return self.kept

    @haz.remote(max_retries=1)
    def lowest(number, begun, tally):
        tally.add()
        if tally.count() > 2:
            return "at last"
        while True:
            try:
                begun.open()
                time.sleep(0.01)
            except KeyboardInterrupt:
                pass

    @haz.remote(max_retries=1)
    def above(n, keeper, gates, tally):
        if n:
            return haz.get(above.remote(n - 1, keeper, gates, tally))
        number = tally.count()
        ref = lowest.remote(number, gates[number], tally)
        haz.get(keeper.keep.remote([ref]))
        try:
            return haz.get(ref)
        except TaskCancelledError:
            return "an error"

    keeper = Keeper.remote()
    gates = [gate(str(i)) for i in range(3)]
    ref = above.remote(40, keeper, gates, tally)
    for i in range(2):
        gates[i].wait()
        [inner] = haz.get(keeper.take.remote())[i]
        haz.cancel(inner, force=True)
        with pytest.raises(TaskCancelledError):
            haz.get(inner)
    # Each of them was begun three times, with one retry.
    assert haz.get(ref) == "at last"
    assert tally.count() == 3
