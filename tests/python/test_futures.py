"""``await ref`` and ``ref.future()`` where the value comes later: an engine on strings of events."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref

import haz
import pytest
from haz._core.refs import ObjectRef
from haz._core.runtime import runtime


class LaterRef(ObjectRef):
    __slots__ = ("callbacks", "outcome")

    def __init__(self):
        self.outcome = None
        self.callbacks = []

    def hex(self):
        return f"{id(self):032x}"

    def finish(self, outcome):
        """Be ready, with a value or an exception. From any thread."""
        self.outcome = (outcome,)
        for callback in self.callbacks:
            callback()


class LaterEngine:
    """Refs are ready when the test says so."""

    name = "later"

    def __init__(self):
        self.gets = 0

    def wait(self, refs, num_returns, timeout_s):
        assert timeout_s == 0, "await must not block the loop"
        return [r for r in refs if r.outcome], [r for r in refs if not r.outcome]

    def get(self, refs, timeout_s):
        self.gets += 1
        values = []
        for ref in refs:
            (value,) = ref.outcome
            if isinstance(value, BaseException):
                raise value
            values.append(value)
        return values

    def add_done_callback(self, ref, callback):
        ref.callbacks.append(callback)
        if ref.outcome:
            callback()

    def shutdown(self):
        pass


@pytest.fixture(autouse=True)
def later():
    engine = LaterEngine()
    runtime.engine = engine
    yield engine
    haz.shutdown()


async def until_waiting(*refs):
    while not all(ref.callbacks for ref in refs):
        await asyncio.sleep(0)


async def awaited(ref):
    return await ref


def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    thread.join()


def test_await_of_what_comes_later():
    async def main():
        ref = LaterRef()
        task = asyncio.ensure_future(awaited(ref))
        await until_waiting(ref)
        assert not task.done()
        in_thread(ref.finish, "value")
        assert await task == "value"

    asyncio.run(main())


def test_await_of_an_error_that_comes_later():
    async def main():
        ref = LaterRef()
        task = asyncio.ensure_future(awaited(ref))
        await until_waiting(ref)
        in_thread(ref.finish, KeyError("k"))
        with pytest.raises(KeyError):
            await task

    asyncio.run(main())


def test_cancelled_waiter(later):
    async def main():
        ref = LaterRef()
        task = asyncio.ensure_future(awaited(ref))
        other = asyncio.ensure_future(awaited(ref))
        await until_waiting(ref)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        in_thread(ref.finish, 1)
        assert await other == 1

    asyncio.run(main())
    assert later.gets == 1


def test_timeout_of_a_waiter():
    async def main():
        ref = LaterRef()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(awaited(ref), 0.01)
        ref.finish(1)
        assert await ref == 1

    asyncio.run(main())


def test_cancelled_in_the_same_moment():
    async def main():
        ref = LaterRef()
        task = asyncio.ensure_future(awaited(ref))
        await until_waiting(ref)
        ref.finish(1)  # the loop has not seen it yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_loop_that_is_closed_meanwhile():
    ref = LaterRef()
    loop = asyncio.new_event_loop()
    task = loop.create_task(awaited(ref))
    loop.run_until_complete(until_waiting(ref))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    in_thread(ref.finish, 1)  # nobody is there any more, and nothing is raised
    assert asyncio.run(awaited(ref)) == 1


def test_loops_are_not_kept():
    ref = LaterRef()
    ref.finish(1)

    async def main():
        pending = LaterRef()
        task = asyncio.ensure_future(awaited(pending))
        await until_waiting(pending)
        pending.finish(2)
        return await task

    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(main()) == 2
    weak = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert weak() is None
    assert not runtime.loop_bridges


def test_one_wake_for_many():
    async def main():
        refs = [LaterRef() for _ in range(100)]
        tasks = [asyncio.ensure_future(awaited(ref)) for ref in refs]
        await until_waiting(*refs)
        loop = asyncio.get_running_loop()
        wakes = []
        original = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *args: (wakes.append(1), original(*args))

        def finish_all():
            for number, ref in enumerate(refs):
                ref.finish(number)

        finish_all()  # in the loop's own thread: it can't drain in between
        assert await asyncio.gather(*tasks) == list(range(100))
        assert len(wakes) == 1

    asyncio.run(main())


def test_many_threads_finish_many_refs():
    async def main():
        refs = [LaterRef() for _ in range(2000)]
        tasks = [asyncio.ensure_future(awaited(ref)) for ref in refs]
        await until_waiting(*refs)

        def finish(part):
            for ref in part:
                ref.finish(1)

        threads = [threading.Thread(target=finish, args=(refs[n::8],)) for n in range(8)]
        for thread in threads:
            thread.start()
        assert sum(await asyncio.gather(*tasks)) == 2000
        for thread in threads:
            thread.join()

    asyncio.run(main())


def test_await_without_a_loop():
    with pytest.raises(RuntimeError, match="event loop"):
        LaterRef().__await__().send(None)


def test_future_that_comes_later():
    ref = LaterRef()
    future = ref.future()
    assert not future.done()
    in_thread(ref.finish, 5)
    assert future.result(0) == 5
    failed = LaterRef()
    future = failed.future()
    failed.finish(ValueError("v"))
    with pytest.raises(ValueError, match="v"):
        future.result(0)


def test_engine_that_ends_meanwhile(later):
    async def main():
        ref = LaterRef()
        future = ref.future()
        task = asyncio.ensure_future(awaited(ref))
        await until_waiting(ref)
        runtime.engine = None
        ref.finish(RuntimeError("not running"))
        with pytest.raises(haz.exceptions.ObjectLostError, match="shut down"):
            await task
        with pytest.raises(haz.exceptions.ObjectLostError, match="shut down"):
            future.result(0)

    asyncio.run(main())


def test_runtime_error_of_a_task_is_its_own():
    ref = LaterRef()
    ref.finish(RuntimeError("mine"))
    with pytest.raises(RuntimeError, match="mine"):
        ref.future().result(0)


def test_cancelled_future(later):
    ref = LaterRef()
    future = ref.future()
    assert future.cancel()
    ref.finish(5)
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(0)
    assert later.gets == 0
    assert ref.future().result(0) == 5
