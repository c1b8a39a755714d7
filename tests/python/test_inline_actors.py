"""What only actors of the inline engine do: they live in this process, and calls run at once."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import haz
import pytest
from haz import exceptions
from haz.testing import leak_check, open_descriptors


@pytest.fixture(autouse=True)
def _inline():
    with leak_check():
        haz.init(engine="inline", num_cpus=2)
        yield
        haz.shutdown()


instances = weakref.WeakSet()


class _Base:
    def __init__(self):
        instances.add(self)

    def where(self):
        return os.getpid(), threading.get_ident()


Plain = haz.remote(_Base)


@haz.remote
class Async(_Base):
    async def wait(self, seconds):
        await asyncio.sleep(seconds)
        return threading.get_ident()

    async def call_me(self, me, depth):
        return 1 + await me.call_me.remote(me, depth - 1) if depth else 1

    async def leave_running(self):
        self.task = asyncio.get_running_loop().create_task(asyncio.sleep(1000))


def test_runs_in_the_thread_of_the_caller():
    plain = Plain.remote()
    assert haz.get(plain.where.remote()) == (os.getpid(), threading.get_ident())
    assert haz.get(Async.remote().wait.remote(0)) == threading.get_ident()
    (instance,) = [i for i in instances if type(i) is _Base]
    assert instance.where()[0] == os.getpid()


@pytest.mark.parametrize("make", [Plain.remote, Async.remote])
def test_the_instance_goes_with_the_last_handle(make):
    gc.collect()
    gc.disable()
    try:
        before, descriptors = len(instances), open_descriptors()
        handle = make()
        same = haz.get(haz.put(handle))
        haz.get([handle.where.remote(), same.where.remote()])
        assert len(instances) == before + 1
        del handle
        assert len(instances) == before + 1
        del same
        assert len(instances) == before
        assert open_descriptors() == descriptors
    finally:
        gc.enable()


def test_shutdown_ends_actors():
    handles = [Plain.remote(), Async.remote()]
    haz.get([handle.where.remote() for handle in handles])
    assert len(instances) == 2
    haz.shutdown()
    gc.collect()
    assert len(instances) == 0


def test_calls_of_itself_run_inside():
    @haz.remote
    class Selfish:
        def __init__(self):
            self.log = []

        def outer(self):
            me = haz.get_runtime_context().current_actor
            self.log.append("outer begins")
            haz.get(me.inner.remote())
            self.log.append("outer ends")
            return self.log

        def inner(self):
            self.log.append("inner")

    assert haz.get(Selfish.remote().outer.remote()) == ["outer begins", "inner", "outer ends"]


def test_async_calls_of_itself():
    handle = Async.remote()
    assert haz.get(handle.call_me.remote(handle, 3)) == 4


def test_call_of_itself_in_the_constructor():
    @haz.remote
    class Hasty:
        def __init__(self):
            self.error = None
            me = haz.get_runtime_context().current_actor
            try:
                haz.get(me.get.remote())
            except RuntimeError as error:
                self.error = str(error)

        def get(self):
            return self.error

    assert "constructor of its actor still runs" in haz.get(Hasty.remote().get.remote())


def test_inside_of_a_running_loop():
    handle = Async.remote()

    async def main():
        first = haz.get(handle.wait.remote(0.001))
        second = await handle.wait.remote(0.001)
        await asyncio.sleep(0)
        return first == second, asyncio.get_running_loop().is_running()

    assert asyncio.run(main()) == (True, True)


def test_what_a_method_leaves_running_is_cancelled_at_the_end():
    handle = Async.remote()
    haz.get(handle.leave_running.remote())
    (instance,) = [i for i in instances if type(i) is Async.__wrapped__]
    task = instance.task
    assert not task.done()
    del instance
    haz.kill(handle)
    assert task.cancelled()


def test_time_limit_of_an_async_method():
    handle = Async.remote()
    with pytest.raises(exceptions.TaskTimeoutError):
        haz.get(handle.wait.options(timeout_s=0.05).remote(1000))
    assert haz.get(handle.wait.remote(0)) == threading.get_ident()


def run_in_threads(count, function):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_take_turns():
    @haz.remote
    class Exclusive:
        def __init__(self):
            self.inside = 0
            self.most = 0

        def enter(self):
            self.inside += 1
            self.most = max(self.most, self.inside)
            threading.Event().wait(0.005)
            self.inside -= 1

        def get(self):
            return self.most

    handle = Exclusive.remote()
    run_in_threads(4, lambda: haz.get(handle.enter.remote()))
    assert haz.get(handle.get.remote()) == 1


def test_threads_with_max_concurrency():
    @haz.remote(max_concurrency=2)
    class Meeting:
        def __init__(self):
            self.barrier = threading.Barrier(2)

        def __reduce__(self):
            raise AssertionError("an actor is not copied")

        def meet(self):
            return self.barrier.wait(60)

    handle = Meeting.remote()
    seen = []
    run_in_threads(2, lambda: seen.append(haz.get(handle.meet.remote())))
    assert sorted(seen) == [0, 1]


def test_killed_by_another_thread_in_the_middle_of_a_call():
    @haz.remote
    class Waits:
        def wait(self):
            threading.Thread(target=haz.kill, args=(handle,)).start()
            threading.Event().wait(0.2)
            return "not to be seen"

    handle = Waits.remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        haz.get(handle.wait.remote())
    assert caught.value.reason == "killed"


def test_killed_by_an_actor_that_it_calls():
    @haz.remote
    class Victim:
        def call(self, killer):
            return haz.get(killer.kill.remote(haz.get_runtime_context().current_actor))

    @haz.remote
    class Killer:
        def kill(self, victim):
            haz.kill(victim)
            return "killer lives"

        def get(self):
            return 1

    victim, killer = Victim.remote(), Killer.remote()
    with pytest.raises(exceptions.ActorDiedError):
        haz.get(victim.call.remote(killer))
    assert haz.get(killer.get.remote()) == 1


def test_ctrl_c_in_a_method_is_the_users():
    import signal

    @haz.remote
    class Busy:
        def work(self):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(60)

        def get(self):
            return "alive"

    handle = Busy.remote()
    with pytest.raises(KeyboardInterrupt):
        handle.work.remote()
    assert haz.get(handle.get.remote()) == "alive"


def test_arguments_of_the_constructor_go():
    gc.collect()
    before = haz._core.runtime.runtime.engine.snapshot()["objects"]["count"]
    plain = haz.remote(Holder).remote([haz.put(b"x" * 1000)])
    gc.collect()
    now = haz._core.runtime.runtime.engine.snapshot()["objects"]["count"]
    assert now == before + 1  # the actor's own
    assert haz.get(plain.get.remote()) is None


class Holder:
    def __init__(self, refs):
        pass

    def get(self):
        return None
