"""Methods of actors that are generators."""

from __future__ import annotations

import asyncio
import time

import haz
import pytest
from haz import exceptions


@haz.remote
class Makes:
    def __init__(self):
        self.made = 0

    def count(self, n):
        for i in range(n):
            self.made += 1
            yield i

    @haz.method(num_returns="streaming")
    def listed(self, n):
        return iter(range(n))

    @haz.method(num_returns="dynamic")
    def dynamic(self, n):
        yield from range(n)

    def fails(self, n):
        yield from range(n)
        raise KeyError("in the middle")

    def exits(self, n):
        yield from range(n)
        haz.actor.exit_actor()

    def get_made(self):
        return self.made

    def facts(self):
        context = haz.get_runtime_context()
        yield context.get_task_name()
        yield context.current_actor


@haz.remote
class AsyncMakes:
    async def count(self, n):
        for i in range(n):
            await asyncio.sleep(0)
            yield i

    async def fails(self):
        yield 1
        raise LookupError("async")

    def plain(self, n):
        yield from range(n)

    async def get(self):
        return "plain"

    async def get_in_thread(self):
        return await asyncio.to_thread(lambda: "of a thread")


def test_items(engine):
    makes = Makes.remote()
    stream = makes.count.remote(3)
    assert isinstance(stream, haz.ObjectRefGenerator)
    assert haz.get(list(stream)) == [0, 1, 2]
    assert haz.get(makes.get_made.remote()) == 3
    assert haz.get(list(makes.listed.remote(2))) == [0, 1]
    assert haz.get(list(makes.count.remote(0))) == []


def test_other_numbers_of_returns(engine):
    makes = Makes.remote()
    assert haz.get(makes.count.options(num_returns=2).remote(2)) == [0, 1]
    assert haz.get(list(haz.get(makes.dynamic.remote(3)))) == [0, 1, 2]
    assert haz.get(list(makes.dynamic.options(num_returns="streaming").remote(2))) == [0, 1]


def test_calls_go_on_after_a_stream(engine):
    makes = Makes.remote()
    streams = [makes.count.remote(5) for _ in range(3)]
    assert [haz.get(list(stream)) for stream in streams] == [[0, 1, 2, 3, 4]] * 3
    assert haz.get(makes.get_made.remote()) == 15


def test_errors_come_after_the_items(engine):
    makes = Makes.remote()
    stream = makes.fails.remote(2)
    assert [haz.get(next(stream)), haz.get(next(stream))] == [0, 1]
    with pytest.raises(KeyError) as caught:
        haz.get(next(stream))
    assert caught.value.task_name == "Makes.fails"
    with pytest.raises(StopIteration):
        next(stream)
    assert haz.get(makes.get_made.remote()) == 0


def test_exit_in_the_middle(engine):
    makes = Makes.remote()
    refs = list(makes.exits.remote(2))
    assert haz.get(refs[:2]) == [0, 1]
    with pytest.raises(exceptions.ActorDiedError) as caught:
        haz.get(refs[2])
    assert caught.value.reason == "exited"


def test_cancel_stops_between_items(engine):
    @haz.remote
    class Steps:
        def __init__(self):
            self.half_done = False
            self.ended = None

        def run(self):
            try:
                for i in range(100_000):
                    self.half_done = True
                    time.sleep(0.001)
                    self.half_done = False
                    yield i
            except BaseException as error:
                self.ended = type(error).__name__
                raise

        def state(self):
            return self.half_done, self.ended

    steps = Steps.remote()
    stream = steps.run.remote()
    assert haz.get(next(stream)) == 0
    haz.cancel(stream)
    haz.cancel(stream)
    with pytest.raises(exceptions.TaskCancelledError):
        while True:
            haz.get(next(stream))
    with pytest.raises(StopIteration):
        next(stream)
    assert haz.get(steps.state.remote()) == (False, "GeneratorExit")


def test_dead_actor(engine):
    makes = Makes.remote()
    haz.kill(makes)
    refs = list(makes.count.remote(3))
    with pytest.raises(exceptions.ActorDiedError):
        haz.get(refs)


def test_context(engine):
    makes = Makes.remote()
    name, handle = haz.get(list(makes.facts.remote()))
    assert (name, handle) == ("Makes.facts", makes)


def test_wrong_arguments(engine):
    with pytest.raises(TypeError, match="missing a required argument: 'n'"):
        Makes.remote().count.remote()


def test_async_generators(engine):
    makes = AsyncMakes.remote()
    assert haz.get(list(makes.count.remote(3))) == [0, 1, 2]
    assert haz.get(list(makes.plain.remote(2))) == [0, 1]
    stream = makes.fails.remote()
    assert haz.get(next(stream)) == 1
    with pytest.raises(LookupError):
        haz.get(next(stream))
    assert haz.get(makes.get.remote()) == "plain"


def test_async_consumers(engine):
    makes = AsyncMakes.remote()

    async def main():
        return [await ref async for ref in makes.count.remote(4)]

    assert asyncio.run(main()) == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["count", "plain"])
def test_a_stream_that_waits_for_its_consumer_does_not_stop_the_loop(engine, method):
    makes = AsyncMakes.remote()
    bounded = getattr(makes, method).options(_generator_backpressure_num_objects=1)
    got = []
    for ref in bounded.remote(4):
        got.append(haz.get(ref))
        assert haz.get(makes.get.remote(), timeout=60) == "plain"
    assert got == [0, 1, 2, 3]
    stream = bounded.remote(10**9)
    haz.get(next(stream))
    haz.cancel(stream)
    with pytest.raises(exceptions.TaskCancelledError):
        for ref in stream:
            haz.get(ref, timeout=60)
    assert haz.get(makes.get.remote(), timeout=60) == "plain"


def test_streams_that_wait_for_consumers_hold_no_threads(engine):
    makes = AsyncMakes.remote()
    bounded = makes.count.options(_generator_backpressure_num_objects=1)
    streams = [bounded.remote(5) for _ in range(40)]  # more than asyncio has threads
    assert haz.get([next(stream) for stream in streams]) == [0] * 40
    assert haz.get(makes.get_in_thread.remote(), timeout=60) == "of a thread"
    assert haz.get(list(streams[-1]), timeout=60) == [1, 2, 3, 4]
    haz.cancel(streams[0])
    with pytest.raises(exceptions.TaskCancelledError):
        for ref in streams[0]:
            haz.get(ref, timeout=60)
    assert haz.get(list(streams[1]), timeout=60) == [1, 2, 3, 4]


def test_in_a_task(engine):
    makes = Makes.remote()

    @haz.remote
    def total(makes, n):
        return sum(haz.get(ref) for ref in makes.count.remote(n))

    assert haz.get(total.remote(makes, 4)) == 6
