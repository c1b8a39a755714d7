"""haz.util with processes: what comes first is there first, what blocks is woken."""

from __future__ import annotations

import threading
import time

import haz
import pytest
from haz.util import ActorPool, as_completed, map_unordered
from haz.util.queue import Full, Queue

from tests.engines import native_has_actors

pytestmark = pytest.mark.skipif(not native_has_actors(), reason="no actors in this engine")


@haz.remote(num_cpus=0)
def wait_for(gate, x):
    gate.wait()
    return x


@haz.remote(num_cpus=0)
def get_one(q):
    return q.get()


@haz.remote(num_cpus=0)
def put_one(q, item):
    q.put(item)
    return item


@haz.remote
class Worker:
    def wait_for(self, gate, x):
        gate.wait()
        return x


def test_as_completed_yields_what_is_ready(node, gate):
    refs = [wait_for.remote(gate(str(i)), i) for i in range(3)]
    results = as_completed(refs)
    for i in (2, 0, 1):
        gate(str(i)).open()
        assert next(results) == i


def test_as_completed_with_a_timeout(node, gate):
    results = as_completed([wait_for.remote(gate(), 1)], timeout=0.05)
    with pytest.raises(haz.exceptions.GetTimeoutError):
        next(results)
    gate().open()


def test_map_unordered_keeps_to_its_limit(node, gate, tally):
    @haz.remote(num_cpus=0)
    def work(i):
        tally.add(str(i))
        gate(str(i)).wait()
        return i

    def begun(count):
        for _ in range(2000):
            if tally.count() >= count:
                break
            time.sleep(0.01)
        return sorted(map(int, tally.lines()))

    results = map_unordered(work, range(10), backpressure_size=2)
    opener = threading.Thread(target=lambda: begun(2) and gate("1").open())
    opener.start()
    assert next(results) == 1
    opener.join()
    assert begun(2) == [0, 1]
    gate("2").open()
    assert next(results) == 2
    assert begun(3) == [0, 1, 2]
    for i in range(10):
        gate(str(i)).open()
    assert sorted(results) == [0, *range(3, 10)]


def test_pool_gives_work_to_who_is_free(node, gate):
    pool = ActorPool([Worker.remote() for _ in range(2)])
    gates = [gate(str(i)) for i in range(4)]
    results = pool.map_unordered(lambda actor, i: actor.wait_for.remote(gates[i], i), range(4))
    for i in (1, 2, 3, 0):
        gates[i].open()
        assert next(results) == i


def test_pool_with_a_timeout(node, gate):
    pool = ActorPool([Worker.remote()])
    pool.submit(lambda actor, i: actor.wait_for.remote(gate(), i), 1)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0)
    gate().open()
    assert pool.get_next() == 1
    pool.submit(lambda actor, i: actor.wait_for.remote(gate("second"), i), 2)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05, ignore_if_timedout=True)
    assert not pool.has_next()
    pool.submit(lambda actor, i: actor.wait_for.remote(gate(), i), 3)
    gate("second").open()
    assert pool.get_next() == 3


def test_get_waits_for_a_put(node):
    q = Queue()
    refs = [get_one.remote(q) for _ in range(5)]
    assert haz.wait(refs, timeout=0.1)[0] == []
    for i in range(5):
        q.put(i)
    assert sorted(haz.get(refs)) == list(range(5))


def test_put_waits_for_a_get(node):
    q = Queue(maxsize=1)
    q.put("first")
    refs = [put_one.remote(q, i) for i in range(3)]
    assert haz.wait(refs, timeout=0.1)[0] == []
    with pytest.raises(Full):
        q.put("no", timeout=0.05)
    assert q.get() == "first"
    assert sorted(q.get() for _ in range(3)) == [0, 1, 2]
    assert sorted(haz.get(refs)) == [0, 1, 2]


def test_more_waiting_calls_than_an_async_actor_has_by_default(node):
    q = Queue()
    actor = q.actor
    refs = [actor.get.remote(None) for _ in range(1010)]
    q.put_nowait_batch(range(1010))
    assert sorted(item for (item,) in haz.get(refs)) == list(range(1010))


def test_producer_and_consumer(node):
    q = Queue(maxsize=10)

    @haz.remote
    def produce(q, count):
        for i in range(count):
            q.put(i)
        q.put(None)

    @haz.remote
    def consume(q):
        total = 0
        while (item := q.get()) is not None:
            total += item
        return total

    produced = produce.remote(q, 500)
    assert haz.get(consume.remote(q)) == sum(range(500))
    haz.get(produced)


def test_shutdown_with_calls_that_wait(node):
    q = Queue()
    ref = get_one.remote(q)
    assert haz.wait([ref], timeout=0.1)[0] == []
    q.shutdown(grace_period_s=0.1)
    with pytest.raises(haz.exceptions.ActorDiedError):
        haz.get(ref)
