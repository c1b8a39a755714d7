"""Many short calls of a pool go to its workers in batches, and stay calls of their own."""

from __future__ import annotations

import collections
import os
import signal
import threading
import time

import haz
import haz.multiprocessing
import pytest
from haz._faces.batch import Sent
from haz._faces.group import WorkerGroup
from haz.exceptions import ActorDiedError
from haz.testing import wait_until

from tests.engines import HAS_NATIVE

pytestmark = pytest.mark.skipif(not HAS_NATIVE, reason="needs processes")
CALLS = 3000


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.fixture(autouse=True)
def depth(monkeypatch):
    """How many calls a worker has ahead: fixed, since what a busy machine measures may be one."""
    depth = [400]
    monkeypatch.setattr(WorkerGroup, "_depth", lambda self: depth[0])
    return depth


@pytest.fixture
def batches(monkeypatch):
    """The numbers of calls of the batches that were sent."""
    sizes = []
    send = Sent.send_batch

    def note(self):
        sizes.append(len(self.calls))
        send(self)

    monkeypatch.setattr(Sent, "send_batch", note)
    return sizes


@pytest.fixture
def pool(batches):
    haz.init(num_cpus=2)
    with haz.multiprocessing.Pool(2) as pool:
        yield pool


def note(log, place):
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, b"%d\n" % place)
    os.close(file)
    return place


def noted(log):
    with open(log) as file:
        return collections.Counter(int(line) for line in file)


def outcomes_of(results):
    found = []
    for result in results:
        try:
            found.append(result.get(60))
        except Exception as error:
            found.append(error)
    return found


def check(log, results, bad, kind):
    """All calls have run once, and those that are not `bad` gave their results."""
    outcomes = outcomes_of(results)
    for place in bad:
        assert isinstance(outcomes[place], kind), outcomes[place]
        outcomes[place] = place
    assert outcomes == list(range(len(results)))
    assert noted(log) == collections.Counter(range(len(results)))


def test_a_death_is_that_of_one_call(pool, batches, log):
    bad = {700: signal.SIGKILL, 701: 0, 2000: signal.SIGSEGV}

    def call(place):
        note(log, place)
        if place in bad:
            if bad[place]:
                os.kill(os.getpid(), bad[place])
            os._exit(3)
        return place

    results = [pool.apply_async(call, (place,)) for place in range(CALLS)]
    check(log, results, bad, ActorDiedError)
    assert max(batches) > 4


def test_an_exception_is_that_of_one_call(pool, batches, log):
    class TwoArgumentsError(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    def call(place):
        note(log, place)
        if place % 500 == 7:
            raise TwoArgumentsError(1, 2) if place > 1000 else KeyError(place)
        return place

    results = [pool.apply_async(call, (place,)) for place in range(CALLS)]
    check(log, results, range(7, CALLS, 500), Exception)
    assert max(batches) > 4


def test_nothing_is_sent_again_and_again_behind_a_long_call(pool, batches, tmp_path):
    gate = tmp_path / "gate"

    def long_call():
        while not gate.exists():
            time.sleep(0.005)

    long_ones = [pool.apply_async(long_call) for _ in range(2)]
    results = [pool.apply_async(int, (n,)) for n in range(CALLS)]
    time.sleep(0.5)  # in which the group looks at its workers some 20 times
    sent = len(batches)
    gate.touch()
    assert outcomes_of(long_ones) == [None, None]
    assert outcomes_of(results) == list(range(CALLS))
    assert sent < 15


def test_results_of_any_kind(pool, log):
    kinds = [lambda n: n, str, lambda n: [n], lambda n: b"x" * n, lambda n: {n: None}, complex]
    calls = [(kinds[n % 6 if n % 50 == 0 else 0], n) for n in range(CALLS)]
    results = [pool.apply_async(function, (n,)) for function, n in calls]
    assert outcomes_of(results) == [function(n) for function, n in calls]


class BadOnArrival:
    def __reduce__(self):
        return int, ("not a number",)


def test_an_argument_that_does_not_travel(pool):
    given = [
        n if n % 900 != 8 else BadOnArrival() if n % 1800 else threading.Lock()
        for n in range(CALLS)
    ]
    given[1808] = threading.Lock()
    outcomes = outcomes_of([pool.apply_async(repr, (value,)) for value in given])
    for place, outcome in enumerate(outcomes):
        if place % 900 == 8:
            assert isinstance(outcome, Exception), place
        else:
            assert outcome == repr(place)


def test_nobody_waits_behind_a_long_call(pool, batches, log):
    gate = log + ".gate"

    def call(place):
        note(log, place)
        while place == 1500 and not os.path.exists(gate):
            time.sleep(0.005)
        return place

    results = [pool.apply_async(call, (place,)) for place in range(CALLS)]
    wait_until(lambda: sum(result.ready() for result in results) == CALLS - 1, 60)
    assert not results[1500].ready()
    open(gate, "w").close()
    check(log, results, (), ())
    assert max(batches) > 4


def test_max_calls_of_a_process(batches, log):
    haz.init(num_cpus=2)

    def call(place):
        note(log, place)
        return os.getpid()

    with haz.multiprocessing.Pool(2, maxtasksperchild=30) as pool:
        results = [pool.apply_async(call, (place,)) for place in range(600)]
        pids = collections.Counter(result.get(60) for result in results)
    assert max(pids.values()) <= 30
    assert noted(log) == collections.Counter(range(600))


def test_cancelled_futures_do_not_run(batches, log):
    haz.init(num_cpus=2)
    with haz.Executor(2) as executor:
        futures = [executor.submit(note, log, place) for place in range(CALLS)]
        cancelled = {place for place in range(CALLS - 1, 0, -3) if futures[place].cancel()}
        for place, future in enumerate(futures):
            if place not in cancelled:
                assert future.result(60) == place
    assert noted(log) == collections.Counter(set(range(CALLS)) - cancelled)


def test_terminate_with_batches_under_way(pool, batches, depth):
    depth[0] = 40
    results = [pool.apply_async(time.sleep, (0.02,)) for _ in range(2000)]  # 20 s of them
    results[0].get(60)
    pool.terminate()
    outcomes = outcomes_of(results)
    assert outcomes[0] is None
    assert all(one is None or isinstance(one, ValueError) for one in outcomes)
    assert isinstance(outcomes[-1], ValueError)
    assert max(batches) > 4
    pool.join()
