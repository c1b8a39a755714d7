"""haz.util.queue.Queue, on every engine."""

from __future__ import annotations

import asyncio
import os
import queue
import signal

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until
from haz.util.queue import Empty, Full, Queue


@haz.remote
def put_all(q, items):
    for item in items:
        q.put(item)


@haz.remote
def get_some(q, count):
    return [q.get(timeout=60) for _ in range(count)]


def test_first_in_first_out(engine):
    q = Queue()
    assert (q.size(), q.qsize(), len(q), q.empty(), q.full()) == (0, 0, 0, True, False)
    for i in range(5):
        q.put(i)
    assert (q.size(), q.empty(), q.full()) == (5, False, False)
    assert [q.get() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert q.empty()


def test_any_item(engine):
    q = Queue()
    items = [None, "a", {"k": [1]}, (), b"x" * 100_000]
    for item in items:
        q.put(item)
    assert [q.get() for _ in items] == items
    ref = haz.put(5)
    q.put([ref])
    assert haz.get(q.get()[0]) == 5
    q.put(ref)
    assert q.get() == 5


def test_maxsize(engine):
    q = Queue(maxsize=2)
    q.put(1)
    q.put_nowait(2)
    assert q.full()
    with pytest.raises(Full, match="full"):
        q.put_nowait(3)
    with pytest.raises(Full):
        q.put(3, block=False)
    with pytest.raises(Full, match="within"):
        q.put(3, timeout=0.01)
    with pytest.raises(queue.Full):
        q.put(3, timeout=0)
    assert [q.get(), q.get_nowait()] == [1, 2]


def test_empty(engine):
    q = Queue()
    with pytest.raises(Empty, match="empty"):
        q.get_nowait()
    with pytest.raises(Empty):
        q.get(block=False)
    with pytest.raises(Empty, match="within"):
        q.get(timeout=0.01)
    with pytest.raises(queue.Empty):
        q.get(timeout=0)


def test_batches(engine):
    q = Queue(maxsize=4)
    q.put_nowait_batch(x for x in range(3))
    with pytest.raises(Full, match="no room for 2 items: there are 3, and maxsize is 4"):
        q.put_nowait_batch([3, 4])
    assert q.size() == 3
    with pytest.raises(Empty, match="no 4 items: there are 3"):
        q.get_nowait_batch(4)
    assert q.get_nowait_batch(2) == [0, 1]
    assert q.get_nowait_batch(0) == []
    q.put_nowait_batch([])
    assert q.get_nowait_batch(1) == [2]


def test_wrong_arguments(engine):
    q = Queue()
    with pytest.raises(TypeError, match="iterable"):
        q.put_nowait_batch(1)
    with pytest.raises(TypeError, match="integer"):
        q.get_nowait_batch("1")
    with pytest.raises(ValueError, match="0 or more"):
        q.get_nowait_batch(-1)
    with pytest.raises(ValueError, match="timeout"):
        q.get(timeout=-1)
    with pytest.raises(ValueError, match="timeout"):
        q.put(1, timeout=-1)
    assert q.empty()


def test_async(engine):
    q = Queue(maxsize=2)

    async def main():
        await q.put_async("a")
        await q.put_async("b", block=False)
        with pytest.raises(Full):
            await q.put_async("c", block=False)
        with pytest.raises(Full):
            await q.put_async("c", timeout=0.01)
        assert [await q.get_async(), await q.get_async(block=False)] == ["a", "b"]
        with pytest.raises(Empty):
            await q.get_async(block=False)
        with pytest.raises(Empty):
            await q.get_async(timeout=0.01)

    asyncio.run(main())


def test_timeouts_are_checked(engine):
    q = Queue()
    for nonsense in ("1", True, [], float("nan"), -1):
        for call in (lambda t: q.get(timeout=t), lambda t: q.put(1, timeout=t)):
            with pytest.raises((TypeError, ValueError), match="timeout must be"):
                call(nonsense)
    assert q.empty()


def test_an_item_for_a_dead_process_goes_to_the_next(engine):
    if engine == "inline":
        pytest.skip("it has no processes")

    @haz.remote
    class Getter:
        def pid(self):
            return os.getpid()

        def get(self, q):
            return q.get()

    def waiting():
        return haz.get(q.actor.__ray_call__.remote(lambda holder: len(holder.queue._getters)))

    q = Queue()
    first, second = Getter.remote(), Getter.remote()
    pid = haz.get(first.pid.remote())
    lost = first.get.remote(q)
    wait_until(lambda: waiting() == 1)
    got = second.get.remote(q)
    wait_until(lambda: waiting() == 2)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(exceptions.ActorDiedError):
        haz.get(lost)
    q.put("item")
    assert haz.get(got, timeout=60) == "item"


def test_shared_by_tasks(engine):
    q = Queue()
    haz.get([put_all.remote(q, range(10)), put_all.remote(q, range(10, 20))])
    first, second = haz.get([get_some.remote(q, 10), get_some.remote(q, 10)])
    assert sorted(first + second) == list(range(20))
    assert q.empty()


def test_order_of_one_producer(engine):
    q = Queue()
    haz.get(put_all.remote(q, range(50)))
    assert haz.get(get_some.remote(q, 50)) == list(range(50))


def test_options_of_the_actor(engine):
    q = Queue(actor_options={"resources": {"crane": 1}, "name": "queue"})
    q.put(1)
    assert haz.available_resources()["crane"] == 1
    assert haz.get_actor("queue") == q.actor
    assert "Queue maxsize=0" in repr(q)


@pytest.mark.parametrize("force", [False, True])
def test_shutdown(engine, force):
    q = Queue()
    q.put(1)
    actor = q.actor
    q.shutdown(force=force)
    q.shutdown()
    with pytest.raises(exceptions.ActorDiedError):
        haz.get(actor.qsize.remote())
    with pytest.raises(RuntimeError, match="shut down"):
        q.get()


def test_maxsize_is_checked_at_the_call(engine):
    for wrong in ("2", 1.5, None, True):
        with pytest.raises(TypeError, match="maxsize"):
            Queue(maxsize=wrong)
    queue = Queue(maxsize=10**30)
    queue.put(1)
    assert queue.get() == 1
