"""Actors with ``async def`` methods, and callers that are coroutines."""

from __future__ import annotations

import asyncio

import haz
import pytest
from haz import exceptions


@haz.remote
class Async:
    def __init__(self):
        self.value = 0
        self.loops = set()

    async def add(self, number):
        await asyncio.sleep(0)
        self.loops.add(id(asyncio.get_running_loop()))
        self.value += number
        return self.value

    def plain(self):
        self.loops.add(id(asyncio.get_running_loop()))
        return self.value

    def count_loops(self):
        return len(self.loops)

    async def fail(self):
        await asyncio.sleep(0.001)
        raise LookupError("async")

    async def wait_for(self, refs):
        return sum(await asyncio.gather(*refs))

    async def exit(self):
        await asyncio.sleep(0)
        haz.actor.exit_actor()

    async def facts(self):
        await asyncio.sleep(0)
        context = haz.get_runtime_context()
        return context.get_task_name(), context.get_actor_id(), context.current_actor


@haz.remote
def square(x):
    return x * x


def test_async_methods(engine):
    actor = Async.remote()
    assert haz.get([actor.add.remote(1), actor.add.remote(2)]) in ([1, 3], [3, 2])
    assert haz.get(actor.plain.remote()) == 3


def test_one_loop_for_all_methods(engine):
    actor = Async.remote()
    haz.get([actor.add.remote(1) for _ in range(5)])
    haz.get(actor.plain.remote())
    assert haz.get(actor.count_loops.remote()) == 1


def test_errors(engine):
    actor = Async.remote()
    with pytest.raises(LookupError) as caught:
        haz.get(actor.fail.remote())
    assert caught.value.task_name == "Async.fail"
    assert "raise LookupError" in str(caught.value)
    assert haz.get(actor.add.remote(1)) == 1


def test_await_refs_in_a_method(engine):
    actor = Async.remote()
    assert haz.get(actor.wait_for.remote([square.remote(i) for i in range(4)])) == 14
    assert haz.get(actor.add.remote(square.remote(3))) == 9


def test_await_calls(engine):
    actor = Async.remote()

    async def main():
        first = await actor.add.remote(1)
        rest = await asyncio.gather(*[actor.add.remote(1) for _ in range(3)])
        return first, max(rest), await actor.plain.remote()

    assert asyncio.run(main()) == (1, 4, 4)


def test_await_errors(engine):
    actor = Async.remote()

    async def main():
        with pytest.raises(LookupError):
            await actor.fail.remote()
        with pytest.raises(exceptions.ActorDiedError):
            await actor.exit.remote()

    asyncio.run(main())


def test_exit(engine):
    actor = Async.remote()
    for ref in (actor.exit.remote(), actor.add.remote(1)):
        with pytest.raises(exceptions.ActorDiedError) as caught:
            haz.get(ref)
        assert caught.value.reason == "exited"


def test_facts(engine):
    actor = Async.options(name="facts").remote()
    name, actor_id, handle = haz.get(actor.facts.remote())
    assert (name, actor_id) == ("Async.facts", actor._actor_id.hex())
    assert handle == actor


def test_function_with_an_async_actor(engine):
    actor = Async.remote()
    haz.get(actor.add.remote(2))
    assert haz.get(actor.__ray_call__.remote(lambda self: self.value)) == 2

    async def later(self, x):
        await asyncio.sleep(0)
        return self.value + x

    assert haz.get(actor.__ray_call__.remote(later, 5)) == 7


def test_what_the_constructor_makes_belongs_to_the_loop(engine):
    @haz.remote
    class Buffer:
        def __init__(self):
            self.queue = asyncio.Queue()
            self.event = asyncio.Event()

        async def put(self, item):
            await self.queue.put(item)
            self.event.set()

        async def get(self):
            await self.event.wait()
            return await asyncio.wait_for(self.queue.get(), 60)

    buffer = Buffer.remote()
    put = buffer.put.remote("x")
    assert haz.get(buffer.get.remote()) == "x"
    assert haz.get(put) is None


def test_background_tasks(engine):
    @haz.remote
    class Ticks:
        def __init__(self):
            self.ticks = 0
            self.task = None

        async def start(self):
            self.task = asyncio.get_running_loop().create_task(self.tick())

        async def tick(self):
            while True:
                await asyncio.sleep(0.001)
                self.ticks += 1

        async def wait(self, ticks):
            while self.ticks < ticks:
                await asyncio.sleep(0.001)
            return self.ticks

    ticks = Ticks.remote()
    ticks.start.remote()
    assert haz.get(ticks.wait.remote(3)) >= 3


def test_async_static_and_inherited_methods(engine):
    class Base:
        async def inherited(self):
            return "inherited"

    @haz.remote
    class Derived(Base):
        @staticmethod
        async def static(x):
            return x

        def plain(self):
            return asyncio.get_running_loop() is not None

    derived = Derived.remote()
    refs = [derived.inherited.remote(), derived.static.remote(1), derived.plain.remote()]
    assert haz.get(refs) == ["inherited", 1, True]


def test_async_constructor():
    with pytest.raises(TypeError, match="constructor of actor class Wrong can't be an 'async def'"):

        @haz.remote
        class Wrong:
            async def __init__(self):
                pass


def test_num_returns(engine):
    @haz.remote
    class Two:
        @haz.method(num_returns=2)
        async def two(self):
            return 1, 2

    assert haz.get(Two.remote().two.remote()) == [1, 2]


def test_order_can_not_be_promised():
    with pytest.raises(ValueError, match="allow_out_of_order_execution"):
        haz.remote(allow_out_of_order_execution=False)(Async.__wrapped__)
    with pytest.raises(ValueError, match="allow_out_of_order_execution"):
        Async.options(allow_out_of_order_execution=False)


def test_sync_actor_called_by_coroutines(engine):
    @haz.remote
    class Plain:
        def get(self, x):
            return x

    async def main():
        plain = Plain.remote()
        return await asyncio.gather(*[plain.get.remote(i) for i in range(10)])

    assert asyncio.run(main()) == list(range(10))
