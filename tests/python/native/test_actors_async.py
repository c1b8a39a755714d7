"""Actors with ``async def`` methods: calls that interleave, limits, and loops that are blocked."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until

from tests.engines import native_has_actors

pytestmark = pytest.mark.skipif(not native_has_actors(), reason="no actors in this engine")


@haz.remote
class Async:
    def __init__(self):
        self.event = asyncio.Event()
        self.inside = 0
        self.most = 0
        self.cancelled = 0

    async def wait(self, gate=None, count=0):
        self.inside += 1
        self.most = max(self.most, self.inside)
        if gate is not None and self.inside == count:
            gate.open()
        try:
            await self.event.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return self.most

    async def set(self):
        self.event.set()

    async def enter(self):
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.01)
        self.inside -= 1

    async def get(self, name):
        return getattr(self, name)

    async def blocking_get(self, ref):
        return haz.get(ref[0])

    async def blocking_wait(self, ref):
        return len(haz.wait(ref, timeout=60)[0])

    async def await_it(self, ref):
        return await ref[0]

    async def thread_get(self, ref):
        return await asyncio.get_running_loop().run_in_executor(None, lambda: haz.get(ref[0]))

    async def facts(self):
        await asyncio.sleep(0.001)
        context = haz.get_runtime_context()
        return context.get_task_name(), context.current_actor

    async def thread(self):
        return threading.get_ident()

    def plain_thread(self):
        return threading.get_ident()

    async def block(self, running, go):
        running.open()
        return go.wait()


@haz.remote
def wait_for(gate):
    return gate.wait()


def test_calls_interleave(node):
    actor = Async.remote()
    refs = [actor.wait.remote() for _ in range(100)]
    actor.set.remote()
    assert max(haz.get(refs)) == 100


def test_default_limit_is_1000(node, gate):
    actor = Async.remote()
    refs = [actor.wait.remote(gate(), 1000) for _ in range(1000)]
    gate().wait()
    blocked = actor.set.remote()  # call 1001: there is no room for it
    assert haz.wait([blocked], timeout=0.1)[0] == []
    for ref in refs[:5]:
        haz.cancel(ref)
    haz.get(blocked)
    assert max(haz.get(refs[5:])) == 1000


def test_max_concurrency(node):
    actor = Async.options(max_concurrency=3).remote()
    haz.get([actor.enter.remote() for _ in range(30)])
    assert haz.get(actor.get.remote("most")) == 3


def test_one_thread_for_all_methods(node):
    actor = Async.remote()
    refs = [actor.thread.remote(), actor.plain_thread.remote(), actor.thread.remote()]
    assert len(set(haz.get(refs))) == 1


def test_context_of_interleaved_calls(node):
    actor = Async.remote()
    refs = [actor.facts.options(name=f"call {i}").remote() for i in range(20)]
    assert haz.get(refs) == [(f"call {i}", actor) for i in range(20)]


def test_blocking_get_in_the_loop_is_refused(node, gate):
    actor = Async.remote()
    ref = wait_for.remote(gate())
    with pytest.raises(RuntimeError, match="await"):
        haz.get(actor.blocking_get.remote([ref]))
    with pytest.raises(RuntimeError, match="await"):
        haz.get(actor.blocking_wait.remote([ref]))
    gate().open()
    assert haz.get(ref) is True
    # What is ready blocks nobody.
    assert haz.get(actor.blocking_get.remote([ref])) is True
    assert haz.get(actor.await_it.remote([ref])) is True


def test_waiting_by_await_and_in_threads(node, gate):
    actor = Async.remote()
    ref = wait_for.remote(gate())
    waiting = [actor.await_it.remote([ref]), actor.thread_get.remote([ref])]
    assert haz.get(actor.get.remote("inside")) == 0
    gate().open()
    assert haz.get(waiting) == [True, True]


def test_what_is_awaited_comes_whole(node):
    @haz.remote
    class Awaiter:
        async def get(self, refs):
            # Each of them twice, and ready the second time.
            first = await asyncio.gather(*refs, return_exceptions=True)
            second = await asyncio.gather(*refs, return_exceptions=True)
            # What is left of the first time must not be what another ref finds.
            third = await haz.put("other")
            assert haz.get(refs[0]) == first[0]
            both = (*first, *second)
            return ["failed" if isinstance(x, LookupError) else x for x in both], third

        async def get_late(self, refs):
            await asyncio.sleep(0.05)
            return [await ref for ref in refs]

    @haz.remote
    def fail():
        raise LookupError("awaited")

    echo = haz.remote(lambda x: x)
    awaiter = Awaiter.remote()
    values = [1, None, "x" * 900, b"y" * 3_000_000, [haz.put(7)]]
    for _ in range(3):
        refs = [*(echo.remote(value) for value in values), fail.remote()]
        assert haz.get(awaiter.get.remote(refs)) == ([*values, "failed"] * 2, "other")
        assert haz.get(awaiter.get_late.remote(refs[:5])) == values


def test_a_blocked_loop_does_not_block_others(node, gate):
    blocked, other = Async.remote(), Async.remote()
    ref = blocked.block.remote(gate("running"), gate("go"))
    queued = blocked.get.remote("most")
    gate("running").wait()
    assert haz.get(other.get.remote("most")) == 0
    assert haz.get(haz.remote(lambda: 1).remote()) == 1
    assert haz.wait([queued], timeout=0.1)[0] == []
    gate("go").open()
    assert haz.get([ref, queued]) == [True, 0]


def test_cancel_a_running_call(node):
    actor = Async.remote()
    ref = actor.wait.remote()
    others = [actor.wait.remote() for _ in range(3)]
    assert haz.get(actor.get.remote("inside")) == 4
    haz.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        haz.get(ref)
    assert haz.get(actor.get.remote("cancelled")) == 1
    actor.set.remote()
    assert haz.get(others)
    assert haz.get(actor.get.remote("inside")) == 0


def test_cancel_reaches_children(node, gate, tally):
    @haz.remote
    def child(running, tally):
        try:
            running.open()
            time.sleep(600)
        finally:
            tally.add()

    @haz.remote
    class Parent:
        async def run(self, running, tally):
            await child.remote(running, tally)

    parent = Parent.remote()
    ref = parent.run.remote(gate(), tally)
    gate().wait()
    haz.cancel(ref)
    with pytest.raises(exceptions.TaskCancelledError):
        haz.get(ref)
    wait_until(lambda: tally.count() == 1, "the child is interrupted")


def test_time_limit(node):
    actor = Async.remote()
    with pytest.raises(exceptions.TaskTimeoutError, match=r"Async\.wait"):
        haz.get(actor.wait.options(timeout_s=1).remote())
    assert haz.get(actor.get.remote("inside")) == 0
    assert haz.get(actor.get.remote("cancelled")) == 1


def test_concurrency_groups(node):
    @haz.remote(concurrency_groups={"io": 2, "compute": 4})
    class Grouped:
        def __init__(self):
            self.event = asyncio.Event()
            self.inside = {"io": 0, "compute": 0, "default": 0}
            self.most = dict(self.inside)

        async def enter(self, group):
            self.inside[group] += 1
            self.most[group] = max(self.most[group], self.inside[group])
            await self.event.wait()
            self.inside[group] -= 1

        @haz.method(concurrency_group="io")
        async def io(self):
            await self.enter("io")

        @haz.method(concurrency_group="compute")
        async def compute(self):
            await self.enter("compute")

        async def plain(self):
            await self.enter("default")

        async def set(self):
            self.event.set()

        async def seen(self):
            return self.most

    grouped = Grouped.remote()
    refs = [
        call.remote() for _ in range(8) for call in (grouped.io, grouped.compute, grouped.plain)
    ]
    moved = [grouped.plain.options(concurrency_group="io").remote() for _ in range(3)]
    full = {"io": 2, "compute": 4, "default": 8}
    wait_until(lambda: haz.get(grouped.seen.remote()) == full, "all groups are full")
    assert haz.wait(refs, timeout=0.2)[0] == []
    assert haz.get(grouped.seen.remote()) == full
    grouped.set.remote()
    haz.get([*refs, *moved])


def test_exit_with_calls_in_the_air(node):
    @haz.remote
    class Leaves:
        def __init__(self):
            self.waiting = 0

        async def wait(self):
            self.waiting += 1
            await asyncio.sleep(600)

        async def leave(self):
            while self.waiting < 5:
                await asyncio.sleep(0.001)
            haz.actor.exit_actor()

    leaves = Leaves.remote()
    refs = [leaves.wait.remote() for _ in range(5)] + [leaves.leave.remote(), leaves.wait.remote()]
    for ref in refs:
        with pytest.raises(exceptions.ActorDiedError) as caught:
            haz.get(ref)
        assert caught.value.reason == "exited"


def test_callers_that_are_coroutines(node):
    actor = Async.remote()

    async def main():
        waiting = [asyncio.ensure_future(_await(actor.wait.remote())) for _ in range(20)]
        await asyncio.sleep(0.01)
        await actor.set.remote()
        return await asyncio.gather(*waiting)

    assert max(asyncio.run(main())) == 20


@haz.remote
class FirstStep:
    """What a call is before it waits for the first time."""

    def __init__(self):
        self.log = []
        self.variable = contextvars.ContextVar("variable", default="none")

    async def current(self):
        task = asyncio.current_task()
        return task is not None, task.get_name(), task in asyncio.all_tasks()

    async def time_limit(self, seconds):
        if sys.version_info < (3, 11):
            await asyncio.wait_for(asyncio.sleep(600), seconds)
        async with asyncio.timeout(seconds):
            await asyncio.sleep(600)

    async def group(self):
        async def one(i):
            await asyncio.sleep(0)
            return i

        if sys.version_info < (3, 11):
            return await asyncio.gather(*map(one, range(3)))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(i)) for i in range(3)]
        return [task.result() for task in tasks]

    async def cancel_itself(self):
        asyncio.current_task().cancel()
        await asyncio.sleep(600)

    async def soon(self):
        asyncio.get_running_loop().call_soon(self.log.append, "soon")
        self.log.append("now")
        await asyncio.sleep(0)
        return self.log

    async def set_variable(self, value):
        before = self.variable.get()
        self.variable.set(value)
        await asyncio.sleep(0)
        return before, self.variable.get()

    async def fail(self):
        raise LookupError("at once")

    async def interrupt(self):
        raise KeyboardInterrupt

    async def leave(self):
        haz.actor.exit_actor()

    async def leave_with(self, code):
        sys.exit(code)

    async def future(self):
        return 1

    def awaitable(self):
        return asyncio.ensure_future(self.future())

    async def own_factory(self):
        def make(loop, coroutine, **options):
            self.log.append("made")
            return asyncio.Task(coroutine, loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(make)

    async def ticks(self, count):
        """Ends after so many timers, which must fire while other calls keep coming."""
        for _ in range(count):
            await asyncio.sleep(0.001)

    async def nothing(self):
        pass


def test_the_first_step_is_in_a_task(node):
    actor = FirstStep.remote()
    assert haz.get(actor.current.options(name="a call").remote()) == (True, "a call", True)
    with pytest.raises(TimeoutError if sys.version_info >= (3, 11) else asyncio.TimeoutError):
        haz.get(actor.time_limit.remote(0.01))
    assert haz.get(actor.group.remote()) == [0, 1, 2]
    assert haz.get(actor.soon.remote()) == ["now", "soon"]
    assert haz.get(actor.awaitable.remote()) == 1
    with pytest.raises(exceptions.TaskError, match="CancelledError"):
        haz.get(actor.cancel_itself.remote())


def test_context_variables_are_of_one_call(node):
    actor = FirstStep.remote()
    refs = [actor.set_variable.remote(i) for i in range(20)]
    assert haz.get(refs) == [("none", i) for i in range(20)]


def test_what_the_first_step_raises(node, capfd):
    actor = FirstStep.remote()
    with pytest.raises(LookupError, match="at once"):
        haz.get(actor.fail.remote())
    with pytest.raises(exceptions.TaskError, match="KeyboardInterrupt"):
        haz.get(actor.interrupt.remote())
    assert haz.get(actor.future.remote()) == 1
    with pytest.raises(exceptions.ActorDiedError) as caught:
        haz.get(actor.leave.remote())
    assert caught.value.reason == "exited"
    other = FirstStep.remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        haz.get(other.leave_with.remote(3))
    assert caught.value.exit_code == 3
    haz.shutdown()
    assert "never retrieved" not in capfd.readouterr().err


def test_a_loop_with_a_task_factory(node):
    actor = FirstStep.remote()
    haz.get(actor.own_factory.remote())
    assert haz.get(actor.nothing.remote()) is None
    assert haz.get(actor.soon.remote()) == ["made", "made", "now", "soon"]


def test_calls_that_do_not_wait_leave_time_to_others(node):
    actor = FirstStep.remote()
    ticks = actor.ticks.remote(20)
    refs = [actor.nothing.remote() for _ in range(1000)]
    while not haz.wait([ticks], timeout=0)[0]:
        # There is always a call to come before the last one of these is done.
        more = [actor.nothing.remote() for _ in range(1000)]
        haz.get(refs)
        refs = more


def test_cancel_in_the_first_step(node, gate):
    @haz.remote
    class Stubborn:
        async def run(self, running, go):
            running.open()
            go.wait()
            await asyncio.sleep(600)

    stubborn = Stubborn.remote()
    ref = stubborn.run.remote(gate("running"), gate("go"))
    gate("running").wait()
    haz.cancel(ref)
    gate("go").open()
    with pytest.raises(exceptions.TaskCancelledError):
        haz.get(ref)


async def _await(ref):
    return await ref
