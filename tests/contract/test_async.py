"""Refs in asyncio and as futures."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import haz
import pytest
from haz import exceptions


@haz.remote
def echo(x):
    return x


@haz.remote
def fail(error):
    raise error


def test_await(engine):
    async def main():
        return await echo.remote([1])

    assert asyncio.run(main()) == [1]


def test_await_is_repeatable(engine):
    async def main():
        ref = echo.remote(1)
        return [await ref, await ref]

    assert asyncio.run(main()) == [1, 1]


def test_gather_many(engine):
    async def main():
        return await asyncio.gather(*[echo.remote(i) for i in range(200)])

    assert asyncio.run(main()) == list(range(200))


def test_await_raises(engine):
    async def main():
        with pytest.raises(ValueError, match="v") as caught:
            await fail.remote(ValueError("v"))
        assert isinstance(caught.value, exceptions.TaskError)
        results = await asyncio.gather(
            echo.remote(1), fail.remote(KeyError("k")), return_exceptions=True
        )
        assert results[0] == 1
        assert isinstance(results[1], KeyError)

    asyncio.run(main())


@pytest.mark.parametrize(
    "error", [StopIteration(1), asyncio.CancelledError(), SystemExit(1), GeneratorExit()]
)
def test_await_of_errors_that_mean_something_to_asyncio(engine, error):
    async def main():
        with pytest.raises(exceptions.TaskError) as caught:
            await fail.remote(error)
        assert type(caught.value.cause) is type(error)

    asyncio.run(main())


def test_wait_for_and_wait(engine):
    async def main():
        assert await asyncio.wait_for(_awaiting(echo.remote(1)), 60) == 1
        tasks = [asyncio.ensure_future(echo.remote(i)) for i in range(3)]
        done, pending = await asyncio.wait(tasks)
        assert sorted(task.result() for task in done) == [0, 1, 2]
        assert not pending
        seen = [await next_one for next_one in asyncio.as_completed([_awaiting(echo.remote(5))])]
        assert seen == [5]

    asyncio.run(main())


async def _awaiting(ref):
    return await ref


def test_future(engine):
    future = echo.remote(1).future()
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(60) == 1
    with pytest.raises(ValueError, match="v"):
        fail.remote(ValueError("v")).future().result(60)
    assert isinstance(fail.remote(KeyError()).future().exception(60), KeyError)


def test_futures_in_concurrent_futures_wait(engine):
    futures = [echo.remote(i).future() for i in range(20)]
    done, pending = concurrent.futures.wait(futures, 60)
    assert not pending
    assert sorted(f.result() for f in done) == list(range(20))
    assert {f.result() for f in concurrent.futures.as_completed(futures, 60)} == set(range(20))


def test_future_callback(engine):
    called = threading.Event()
    echo.remote(1).future().add_done_callback(lambda future: called.set())
    assert called.wait(60)


def test_wrap_future(engine):
    async def main():
        return await asyncio.wrap_future(echo.remote(1).future())

    assert asyncio.run(main()) == 1


def test_several_loops_at_once(engine):
    def in_thread(results):
        async def main():
            return await asyncio.gather(*[echo.remote(i) for i in range(50)])

        results.append(asyncio.run(main()))

    results = []
    threads = [threading.Thread(target=in_thread, args=(results,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(50))] * 4


def test_one_loop_after_the_other(engine):
    ref = echo.remote(3)
    assert [asyncio.run(_awaiting(ref)) for _ in range(3)] == [3, 3, 3]


def test_await_in_a_task(engine):
    @haz.remote
    def f():
        async def main():
            return await asyncio.gather(echo.remote(1), echo.remote(2))

        return asyncio.run(main())

    if engine == "native":
        assert haz.get(f.remote()) == [1, 2]
    else:
        # The task runs in this very thread; here without a loop, so it can have one.
        assert haz.get(f.remote()) == [1, 2]


def test_await_after_shutdown(engine):
    ref = echo.remote(1)
    haz.shutdown()

    with pytest.raises(exceptions.ObjectLostError):
        asyncio.run(_awaiting(ref))
    with pytest.raises(exceptions.ObjectLostError):
        ref.future()
