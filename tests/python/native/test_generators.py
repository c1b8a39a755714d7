"""Streams between processes: who runs when, what is freed, what interrupts what."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time

import haz
import pytest
from haz import _native
from haz.exceptions import TaskCancelledError, TaskTimeoutError
from haz.testing import wait_until

MB = 1_000_000


@haz.remote
def count(n):
    yield from range(n)


@haz.remote
def endless(tally=None):
    """Yields for ever; says when it is closed, and when it is interrupted."""
    i = 0
    try:
        while True:
            yield i
            i += 1
    except GeneratorExit:
        if tally is not None:
            tally.add("closed")
        raise
    except KeyboardInterrupt:
        if tally is not None:
            tally.add("interrupted")
        raise


@haz.remote
def pid():
    return os.getpid()


def state():
    gc.collect()
    return _native.snapshot()


def test_the_task_runs_ahead(node, tally):
    @haz.remote
    def counted():
        for i in range(50):
            tally.add()
            yield i

    generator = counted.remote()
    wait_until(lambda: tally.count() == 50)
    assert haz.get(generator.completed()) == 50
    assert state()["unread_items"] == 50
    assert haz.get(list(generator)) == list(range(50))
    assert state()["unread_items"] == 0


def test_it_runs_in_a_worker_beside_its_consumer(node):
    @haz.remote
    def pids():
        for _ in range(3):
            yield os.getpid()

    found = set(haz.get(list(pids.remote())))
    assert len(found) == 1
    assert os.getpid() not in found


def test_an_item_wakes_a_consumer_that_sleeps(node):
    @haz.remote
    def slow():
        for i in range(5):
            time.sleep(0.05)
            yield i

    began = time.monotonic()
    assert haz.get(list(slow.remote())) == [0, 1, 2, 3, 4]
    assert time.monotonic() - began >= 0.25


def test_next_sync_with_a_time_limit(node, gate):
    @haz.remote
    def gated():
        gate().wait()
        yield 1

    generator = gated.remote()
    assert generator._next_sync(timeout_s=0).is_nil()
    began = time.monotonic()
    assert generator._next_sync(timeout_s=0.05).is_nil()
    assert time.monotonic() - began >= 0.05
    assert not generator.next_ready()
    assert not generator.is_finished()
    assert haz.wait([generator], timeout=0.01) == ([], [generator])
    gate().open()
    assert haz.get(generator._next_sync(timeout_s=60)) == 1
    assert list(generator) == []


def test_the_first_ready_of_several(node, gate):
    @haz.remote(num_cpus=0.5)
    def gated(name):
        gate(name).wait()
        yield name

    generators = [gated.remote(name) for name in "abc"]
    gate("b").open()
    assert haz.wait(generators) == ([generators[1]], [generators[0], generators[2]])
    assert haz.get(next(generators[1])) == "b"
    for name in "ac":
        gate(name).open()
    assert haz.wait(generators, num_returns=3) == (generators, [])


def test_waiting_asynchronously(node, gate):
    @haz.remote(num_cpus=0.1)
    def gated(name):
        for i in range(3):
            gate(f"{name}{i}").wait()
            yield i

    async def collect(name):
        return [await ref async for ref in gated.remote(name)]

    async def main():
        tasks = [asyncio.ensure_future(collect(name)) for name in "abcd"]
        for i in range(3):
            await asyncio.sleep(0.02)
            for name in "dcba":
                gate(f"{name}{i}").open()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [[0, 1, 2]] * 4


def test_an_asynchronous_wait_that_is_given_up_loses_nothing(node, gate):
    @haz.remote
    def gated():
        gate().wait()
        yield from range(3)

    async def main():
        generator = gated.remote()
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(generator), 0.01)
        gate().open()
        return [await ref async for ref in generator]

    async def anext(generator):
        return await generator.__anext__()

    assert asyncio.run(main()) == [0, 1, 2]


def test_a_consumer_in_a_task(node):
    @haz.remote
    def consume(generator):
        return [haz.get(ref) for ref in generator], os.getpid()

    items, consumer = haz.get(consume.remote(count.remote(300)))
    assert items == list(range(300))
    assert consumer != os.getpid()


def test_consumers_in_tasks_share_the_items(node):
    @haz.remote(num_cpus=0.5)
    def consume(generator):
        return [haz.get(ref) for ref in generator]

    generator = count.remote(400)
    parts = haz.get([consume.remote(generator) for _ in range(3)])
    assert sorted(item for part in parts for item in part) == list(range(400))


def test_one_slot_is_enough_for_a_pipeline():
    @haz.remote
    def stage(generator):
        for ref in generator:
            yield haz.get(ref) + 1

    haz.init(engine="native", num_cpus=1)
    generator = count.remote(20)
    for _ in range(4):
        generator = stage.remote(generator)
    assert haz.get(list(generator)) == list(range(4, 24))


def test_more_stages_than_processes():
    @haz.remote
    def stage(depth):
        if depth == 0:
            yield from range(3)
            return
        for ref in stage.remote(depth - 1):
            yield haz.get(ref)

    haz.init(engine="native", num_cpus=1)
    assert haz.get(list(stage.remote(40))) == [0, 1, 2]


# ---- what is freed -------------------------------------------------------------------------------


def test_items_that_nobody_took_are_freed():
    haz.init(engine="native", num_cpus=2, object_store_memory=100 * MB)

    @haz.remote
    def big(n):
        for _ in range(n):
            yield bytes(10 * MB)

    for _ in range(6):
        generator = big.remote(6)
        haz.get(generator.completed())
        assert state()["store_used_bytes"] >= 60 * MB
        ref = next(generator)
        del generator
        wait_until(lambda: state()["store_used_bytes"] < 20 * MB)
        assert len(haz.get(ref)) == 10 * MB
        del ref
    wait_until(lambda: state()["objects"] == 0)


def test_refs_inside_of_items_that_nobody_took_are_freed(node):
    @haz.remote
    def refs():
        for _ in range(5):
            yield [haz.put(bytes(MB))]

    generator = refs.remote()
    haz.get(generator.completed())
    inner = haz.get(next(generator))[0]
    wait_until(lambda: state()["store_used_bytes"] >= 5 * MB)
    del generator
    wait_until(lambda: state()["store_used_bytes"] < 3 * MB)
    assert len(haz.get(inner)) == MB


def test_arrays_are_views(node):
    np = pytest.importorskip("numpy")

    @haz.remote
    def arrays():
        for i in range(3):
            yield np.full(1_000_000, i)

    generator = arrays.remote()
    found = [haz.get(ref) for ref in generator]
    del generator
    assert all(not array.flags.owndata for array in found)
    assert [int(array[-1]) for array in found] == [0, 1, 2]


def test_a_slow_consumer_of_big_items_is_waited_for():
    haz.init(engine="native", num_cpus=2, object_store_memory=64 * MB)

    @haz.remote
    def big():
        for i in range(40):
            yield bytes([i]) * (8 * MB)

    seen = 0
    for i, ref in enumerate(big.remote()):
        value = haz.get(ref)
        assert value[-1] == i
        del value, ref
        time.sleep(0.02)
        seen += 1
    assert seen == 40


# ---- consumers that go ---------------------------------------------------------------------------


def test_a_dropped_generator_ends_at_its_next_item(node, tally):
    generator = endless.remote(tally)
    assert haz.get([next(generator), next(generator)]) == [0, 1]
    del generator
    wait_until(tally.count)
    assert tally.lines() == ["closed"]
    wait_until(lambda: state()["tasks"] == 0)
    wait_until(lambda: state()["objects"] == 0)
    assert state()["streams"] == 0


def test_a_dropped_generator_that_yields_no_more_is_interrupted(node, gate, tally):
    @haz.remote
    def sleeper():
        yield 1
        try:
            gate().open()
            time.sleep(1000)
        except KeyboardInterrupt:
            tally.add()
            raise

    generator = sleeper.remote()
    assert haz.get(next(generator)) == 1
    gate().wait()
    del generator
    wait_until(tally.count)
    wait_until(lambda: state()["tasks"] == 0)


def test_a_dropped_generator_that_waits_for_demand_is_closed(node, tally):
    generator = endless.options(_generator_backpressure_num_objects=2).remote(tally)
    assert haz.get(next(generator)) == 0
    del generator
    wait_until(tally.count)
    assert tally.lines() == ["closed"]


def test_a_dropped_generator_that_was_queued_never_runs(gate, tally):
    haz.init(engine="native", num_cpus=1)

    @haz.remote
    def hold():
        gate("running").open()
        return gate("go").wait()

    @haz.remote
    def counted():
        tally.add()
        yield 1

    held = hold.remote()
    gate("running").wait()
    generator = counted.remote()
    del generator
    wait_until(lambda: state()["tasks"] == 1)
    gate("go").open()
    haz.get(held)
    haz.get(pid.remote())
    assert tally.count() == 0


def test_a_dropped_generator_ends_those_that_it_takes_from(node, tally):
    @haz.remote
    def relay(generator):
        for ref in generator:
            yield haz.get(ref)

    generator = relay.remote(endless.remote(tally))
    assert haz.get(next(generator)) == 0
    del generator
    wait_until(tally.count)
    wait_until(lambda: state()["tasks"] == 0)


def test_a_consumer_that_is_killed_is_none_any_more(node, tally):
    @haz.remote(max_retries=0)
    def consume(stream):
        next(stream[0])
        tally.add(str(os.getpid()))
        time.sleep(1000)

    ref = consume.remote([endless.remote(tally)])
    (consumer,) = wait_until(tally.lines)
    os.kill(int(consumer), 9)
    wait_until(lambda: "closed" in tally.lines())
    with pytest.raises(haz.exceptions.WorkerCrashedError):
        haz.get(ref)


def test_the_end_keeps_a_task_running(node, tally):
    @haz.remote(_generator_backpressure_num_objects=1)
    def counted():
        for i in range(30):
            yield tally.add()

    completed = counted.remote().completed()
    assert haz.get(completed) == 30
    assert tally.count() == 30
    assert state()["unread_items"] == 0


def test_an_error_while_closing_is_shown(node, capfd):
    @haz.remote
    def bad():
        try:
            yield 1
            while True:
                yield 2
        finally:
            raise ValueError("in the end")

    generator = bad.remote()
    next(generator)
    del generator
    wait_until(lambda: "in the end" in capfd.readouterr().err)
    assert haz.get(pid.remote())


# ---- cancel and time limits ----------------------------------------------------------------------


def test_cancel_interrupts_what_the_generator_does(node, gate):
    @haz.remote
    def sleeper():
        yield 1
        gate().open()
        time.sleep(1000)
        yield 2

    generator = sleeper.remote()
    assert haz.get(next(generator)) == 1
    gate().wait()
    haz.cancel(generator)
    with pytest.raises(TaskCancelledError, match="sleeper"):
        haz.get(next(generator))
    assert list(generator) == []


def test_cancel_of_one_that_waits_for_demand(node, tally):
    @haz.remote(_generator_backpressure_num_objects=1)
    def limited():
        try:
            while True:
                yield 1
        finally:
            tally.add()

    generator = limited.remote()
    assert haz.get(next(generator)) == 1
    wait_until(generator.next_ready)
    time.sleep(0.05)  # it waits now, most likely
    haz.cancel(generator)
    with pytest.raises(TaskCancelledError):
        haz.get(list(generator)[-1])
    assert tally.count() == 1, "it was closed"
    assert haz.get(pid.remote())


def test_cancel_with_force(node):
    @haz.remote
    def stubborn():
        while True:
            try:
                yield os.getpid()
                time.sleep(1000)
            except KeyboardInterrupt:
                pass

    generator = stubborn.remote()
    worker = haz.get(next(generator))
    haz.cancel(generator, force=True)
    with pytest.raises(TaskCancelledError):
        haz.get(next(generator))
    wait_until(lambda: worker not in state()["worker_pids"])


def test_recursive_cancel(node, tally):
    @haz.remote
    def outer():
        inner = endless.remote(tally)
        for ref in inner:
            yield haz.get(ref)
            time.sleep(0.001)

    generator = outer.remote()
    assert haz.get(next(generator)) == 0
    haz.cancel(generator)
    wait_until(tally.count)
    with pytest.raises(TaskCancelledError):
        haz.get(list(generator)[-1])


def test_a_time_limit_while_it_sleeps(node):
    @haz.remote(timeout_s=2)  # long enough for an item on a busy machine
    def sleeper():
        yield 1
        time.sleep(1000)

    generator = sleeper.remote()
    assert haz.get(next(generator)) == 1
    with pytest.raises(TaskTimeoutError):
        haz.get(next(generator))


# ---- the node's end ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [-1, 1, 16])
def test_shutdown_in_mid_stream(node, limit):
    generators = [
        endless.options(_generator_backpressure_num_objects=limit, num_cpus=0.5).remote()
        for _ in range(4)
    ]
    for generator in generators:
        assert haz.get(next(generator)) == 0
    haz.shutdown()


def test_shutdown_while_threads_wait_for_items(node):
    @haz.remote(num_cpus=0)
    def silent():
        time.sleep(1000)
        yield 1

    errors = []

    def consume(generator):
        try:
            next(generator)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=consume, args=(silent.remote(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: state()["idle_workers"] == 0 and len(state()["worker_pids"]) == 3)
    haz.shutdown()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(errors) == 3
    assert all(isinstance(error, haz.exceptions.HazError) for error in errors)


# ---- state ---------------------------------------------------------------------------------------


def test_progress_is_seen(node):
    generator = count.remote(7)
    haz.get(generator.completed())
    for _ in range(3):
        next(generator)
    now = state()
    assert (now["streams"], now["unread_items"]) == (1, 4)
    del generator
    wait_until(lambda: state()["streams"] == 0)


def test_a_fork_inside_of_a_generator(node):
    @haz.remote
    def forks():
        yield "before"
        child = os.fork()
        if child != 0:
            _, status = os.waitpid(child, 0)
            yield f"parent, of a child that ended with {status}"
            return
        while True:
            yield "child"

    assert haz.get(list(forks.remote())) == ["before", "parent, of a child that ended with 0"]
