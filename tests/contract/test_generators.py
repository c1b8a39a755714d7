"""Generators: streams of refs, their ends, their consumers; and ``num_returns="dynamic"``."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time

import haz
import pytest
from haz.exceptions import ObjectLostError, TaskCancelledError, TaskError, TaskTimeoutError
from haz.testing import wait_until


@haz.remote
def count(n, start=0):
    yield from range(start, start + n)


@haz.remote
def count_then_fail(n):
    yield from range(n)
    raise KeyError("boom")


@haz.remote
def total(generator):
    return sum(haz.get(ref) for ref in generator)


@haz.remote
def identity(value):
    return value


# ---- iteration -----------------------------------------------------------------------------------


def test_a_generator_function_streams(engine):
    generator = count.remote(5)
    assert isinstance(generator, haz.ObjectRefGenerator)
    assert iter(generator) is generator
    refs = list(generator)
    assert all(isinstance(ref, haz.ObjectRef) for ref in refs)
    assert haz.get(refs) == [0, 1, 2, 3, 4]


def test_next(engine):
    generator = count.remote(2)
    assert haz.get(next(generator)) == 0
    assert haz.get(next(generator)) == 1
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(generator)
    assert next(generator, "nothing") == "nothing"


def test_no_items(engine):
    generator = count.remote(0)
    assert list(generator) == []
    assert haz.get(generator.completed()) == 0


def test_many_items_in_order(engine):
    assert [haz.get(ref) for ref in count.remote(3000)] == list(range(3000))


def test_items_outlive_their_generator(engine):
    generator = count.remote(3)
    refs = list(generator)
    del generator
    assert haz.get(refs) == [0, 1, 2]


def test_the_first_item_comes_before_the_last(engine, tally):
    @haz.remote
    def slow():
        for i in range(3):
            tally.add()
            yield i
            wait_until(lambda: tally.count() >= i + 1)

    generator = slow.remote()
    for i in range(3):
        assert haz.get(next(generator)) == i
    assert list(generator) == []


def test_values_of_all_kinds(engine):
    np = pytest.importorskip("numpy")

    @haz.remote
    def mixed():
        yield None
        yield {"a": [1, 2]}
        yield np.arange(100_000)
        yield lambda x: x + 1
        yield haz.put("inner")

    refs = list(mixed.remote())
    assert haz.get(refs[:2]) == [None, {"a": [1, 2]}]
    array = haz.get(refs[2])
    assert array.sum() == 4999950000
    assert not array.flags.writeable
    assert haz.get(refs[3])(1) == 2
    assert haz.get(haz.get(refs[4])) == "inner"


def test_items_are_copies(engine):
    @haz.remote
    def grow():
        items = []
        for i in range(3):
            items.append(i)
            yield items

    assert [haz.get(ref) for ref in grow.remote()] == [[0], [0, 1], [0, 1, 2]]


def test_items_as_arguments(engine):
    assert haz.get([identity.remote(ref) for ref in count.remote(3)]) == [0, 1, 2]


def test_refs_as_arguments(engine):
    assert haz.get(list(count.remote(haz.put(2), start=identity.remote(5)))) == [5, 6]


def test_a_function_that_returns_an_iterator(engine):
    @haz.remote(num_returns="streaming")
    def squares(n):
        return (i * i for i in range(n))

    assert haz.get(list(squares.remote(3))) == [0, 1, 4]


@pytest.mark.parametrize("value", [None, 5, [1, 2]])
def test_a_function_that_returns_no_iterator(engine, value):
    @haz.remote(num_returns="streaming")
    def wrong():
        return value

    (ref,) = wrong.remote()
    with pytest.raises(
        TypeError, match=f"returned one value of type {type(value).__name__} instead of a gen"
    ):
        haz.get(ref)


def test_the_return_value_is_ignored(engine):
    @haz.remote
    def returning():
        yield 1
        return 2

    assert haz.get(list(returning.remote())) == [1]


def test_a_number_of_results_stays_one(engine):
    @haz.remote(num_returns=3)
    def three():
        yield from "abc"

    assert haz.get(three.remote()) == ["a", "b", "c"]
    assert haz.get(list(three.options(num_returns="streaming").remote())) == ["a", "b", "c"]
    assert haz.get(count.options(num_returns=2).remote(2)) == [0, 1]


def test_wrong_arguments_are_errors_at_the_call(engine):
    with pytest.raises(TypeError, match="count"):
        count.remote()


# ---- the end -------------------------------------------------------------------------------------


def test_completed(engine):
    generator = count.remote(4)
    assert haz.get(generator.completed()) == 4
    assert generator.completed() == generator.completed()
    assert haz.get(list(generator)) == [0, 1, 2, 3], "nothing was lost meanwhile"
    assert generator.is_finished()


def test_completed_after_the_generator(engine):
    generator = count.remote(4)
    completed = generator.completed()
    assert haz.get(next(generator)) == 0
    del generator
    assert haz.get(completed) == 4


def test_completed_as_an_argument(engine):
    assert haz.get(identity.remote(count.remote(3).completed())) == 3


def test_states(engine):
    generator = count.remote(1)
    wait_until(generator.next_ready)
    assert not generator.is_finished()
    next(generator)
    wait_until(generator.is_finished)
    assert not generator.next_ready()


def test_next_sync(engine):
    generator = count.remote(2)
    assert haz.get(generator._next_sync()) == 0
    assert haz.get(generator._next_sync(timeout_s=-1)) == 1
    with pytest.raises(StopIteration):
        generator._next_sync(timeout_s=30)


# ---- errors --------------------------------------------------------------------------------------


def test_an_error_is_the_last_item(engine):
    generator = count_then_fail.remote(2)
    refs = list(generator)
    assert len(refs) == 3
    assert haz.get(refs[:2]) == [0, 1]
    with pytest.raises(KeyError) as info:
        haz.get(refs[2])
    assert isinstance(info.value, TaskError)
    assert "count_then_fail" in str(info.value)
    with pytest.raises(StopIteration):
        next(generator)
    with pytest.raises(KeyError):
        haz.get(generator.completed())


def test_an_error_before_the_first_item(engine):
    (ref,) = count_then_fail.remote(0)
    with pytest.raises(KeyError):
        haz.get(ref)


def test_the_error_of_an_argument(engine):
    @haz.remote
    def fails():
        raise ValueError("first")

    (ref,) = count.remote(fails.remote())
    with pytest.raises(ValueError, match="first"):
        haz.get(ref)


def test_an_item_that_cannot_be_pickled(engine, tally):
    @haz.remote
    def bad():
        try:
            yield 1
            yield threading.Lock()
            yield 3
        finally:
            tally.add()

    generator = bad.remote()
    assert haz.get(next(generator)) == 1
    with pytest.raises(TypeError, match="lock"):
        haz.get(next(generator))
    assert list(generator) == []
    assert tally.count() == 1, "it was closed"


def test_stop_iteration_inside_is_an_error(engine):
    @haz.remote
    def odd():
        yield 1
        raise StopIteration

    refs = list(odd.remote())
    assert len(refs) == 2
    with pytest.raises(RuntimeError, match="generator raised StopIteration"):
        haz.get(refs[1])


def test_retried_exceptions_repeat_nothing(engine, tally):
    @haz.remote(retry_exceptions=[ValueError], max_retries=3)
    def flaky():
        attempt = tally.add()
        yield "a"
        yield f"b{attempt}"
        if attempt < 3:
            raise ValueError
        yield f"c{attempt}"

    assert haz.get(list(flaky.remote())) == ["a", "b1", "c3"]
    assert tally.count() == 3


def test_retries_are_used_up(engine, tally):
    @haz.remote(retry_exceptions=True, max_retries=1)
    def failing():
        yield tally.add()
        raise ValueError("always")

    first, last = failing.remote()
    assert haz.get(first) == 1
    with pytest.raises(ValueError, match="always"):
        haz.get(last)
    assert tally.count() == 2


def test_a_time_limit(engine):
    @haz.remote(timeout_s=1.5)  # long enough for an item on a busy machine
    def endless():
        i = 0
        while True:
            yield i
            i += 1
            time.sleep(0.02)

    refs = list(endless.remote())
    assert len(refs) >= 2
    assert haz.get(refs[0]) == 0
    with pytest.raises(TaskTimeoutError, match=r"1\.5 s"):
        haz.get(refs[-1])


# ---- cancel, and consumers that go ---------------------------------------------------------------


def test_cancel(engine):
    @haz.remote
    def endless():
        while True:
            yield 1
            time.sleep(0.001)

    generator = endless.remote()
    assert haz.get(next(generator)) == 1
    haz.cancel(generator)
    refs = list(generator)
    with pytest.raises(TaskCancelledError, match="endless"):
        haz.get(refs[-1])
    with pytest.raises(TaskCancelledError):
        haz.get(generator.completed())
    haz.cancel(generator)  # has ended


def test_cancel_by_the_end(engine):
    @haz.remote
    def endless():
        while True:
            yield 1
            time.sleep(0.001)

    generator = endless.remote()
    haz.cancel(generator.completed())
    with pytest.raises(TaskCancelledError):
        haz.get(list(generator)[-1])


def test_a_dropped_generator_is_closed(engine, tally):
    @haz.remote
    def endless():
        try:
            while True:
                yield 1
                time.sleep(0.001)
        except GeneratorExit:
            tally.add()
            raise

    generator = endless.remote()
    assert haz.get(next(generator)) == 1
    del generator
    wait_until(tally.count)


def test_breaking_out_of_a_loop_closes_it(engine, tally):
    @haz.remote
    def endless():
        try:
            while True:
                yield 1
                time.sleep(0.001)
        finally:
            tally.add()

    for ref in endless.remote():
        assert haz.get(ref) == 1
        break
    wait_until(tally.count)


# ---- wait, get -----------------------------------------------------------------------------------


def test_wait_for_a_generator(engine):
    generator = count.remote(1)
    assert haz.wait([generator]) == ([generator], [])
    assert haz.get(next(generator)) == 0, "waiting takes nothing"
    assert haz.wait([generator]) == ([generator], []), "the end is something, too"
    assert generator.is_finished()


def test_wait_for_generators_and_refs(engine):
    generator = count.remote(1)
    empty = count.remote(0)
    ref = haz.put(1)
    ready, rest = haz.wait([generator, ref, empty], num_returns=3)
    assert ready == [generator, ref, empty]
    assert rest == []
    ready, rest = haz.wait([ref, generator], timeout=0)
    assert (ready, rest) == ([ref], [generator])


def test_all_items_by_wait(engine):
    generators = [count.remote(3, start=10 * i) for i in range(3)]
    found = []
    while generators:
        ready, generators = haz.wait(generators)
        for generator in ready:
            ref = next(generator, None)
            if ref is not None:
                found.append(haz.get(ref))
                generators.append(generator)
    assert sorted(found) == [0, 1, 2, 10, 11, 12, 20, 21, 22]


def test_wait_takes_each_once(engine):
    generator = count.remote(1)
    with pytest.raises(ValueError, match="each ref once"):
        haz.wait([generator, generator])
    with pytest.raises(TypeError, match="not an ObjectRef"):
        haz.wait([generator, 5])


def test_get_of_a_generator_says_what_to_do(engine):
    generator = count.remote(1)
    for wrong in (generator, [generator]):
        with pytest.raises(TypeError, match=r"haz\.get\(ref\) for ref in generator"):
            haz.get(wrong)


@pytest.mark.parametrize("name", ["send", "throw", "close"])
def test_what_generators_here_do_not_have(engine, name):
    generator = count.remote(1)
    arguments = () if name == "close" else (ValueError,)
    with pytest.raises(NotImplementedError, match=name):
        getattr(generator, name)(*arguments)
    with pytest.raises(NotImplementedError, match="a" + name):
        asyncio.run(getattr(generator, "a" + name)(*arguments))


# ---- asyncio -------------------------------------------------------------------------------------


def test_async_for(engine):
    async def main():
        return [await ref async for ref in count.remote(20)]

    assert asyncio.run(main()) == list(range(20))


def test_async_for_over_several_at_once(engine):
    @haz.remote
    def slow(start):
        for i in range(3):
            time.sleep(0.01)
            yield start + i

    async def collect(generator):
        return [await ref async for ref in generator]

    async def main():
        return await asyncio.gather(*(collect(slow.remote(10 * i)) for i in range(3)))

    assert asyncio.run(main()) == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]


def test_async_errors(engine):
    async def main():
        found = []
        async for ref in count_then_fail.remote(1):
            try:
                found.append(await ref)
            except KeyError:
                found.append("error")
        return found

    assert asyncio.run(main()) == [0, "error"]


# ---- passing generators on -----------------------------------------------------------------------


def test_a_generator_as_an_argument(engine):
    assert haz.get(total.remote(count.remote(5))) == 10


def test_a_generator_in_a_container(engine):
    @haz.remote
    def totals(generators):
        return [sum(haz.get(ref) for ref in generator) for generator in generators]

    assert haz.get(totals.remote([count.remote(3), count.remote(4)])) == [3, 6]


def test_a_generator_as_a_result(engine):
    @haz.remote
    def make():
        return count.remote(3)

    assert haz.get(list(haz.get(make.remote()))) == [0, 1, 2]


def test_a_stored_generator(engine):
    stored = haz.put({"generator": count.remote(3)})
    assert haz.get(list(haz.get(stored)["generator"])) == [0, 1, 2]


def test_a_generator_of_generators(engine):
    @haz.remote
    def outer():
        for i in range(3):
            yield count.remote(i)

    assert [haz.get(list(haz.get(ref))) for ref in outer.remote()] == [[], [0], [0, 1]]


def test_consumers_share_the_items(engine):
    generator = count.remote(10)
    assert haz.get(next(generator)) == 0
    first = haz.get(total.remote(generator))
    rest = sum(haz.get(ref) for ref in generator)
    assert first + rest == 45


def test_copies_are_the_same_stream(engine):
    generator = count.remote(2)
    assert haz.get(next(copy.copy(generator))) == 0
    assert haz.get(next(copy.deepcopy(generator))) == 1
    assert list(generator) == []


def test_a_stage_of_a_pipeline(engine):
    @haz.remote
    def double(generator):
        for ref in generator:
            yield 2 * haz.get(ref)

    assert haz.get(list(double.remote(double.remote(count.remote(4))))) == [0, 4, 8, 12]


def test_a_recursive_generator(engine):
    @haz.remote
    def tree(depth):
        yield depth
        if depth:
            for child in (tree.remote(depth - 1), tree.remote(depth - 1)):
                for ref in child:
                    yield haz.get(ref)

    assert sorted(haz.get(list(tree.remote(3)))) == [0] * 8 + [1] * 4 + [2] * 2 + [3]


def test_threads_share_a_generator(engine):
    generator = count.remote(200)
    found = []

    def take():
        for ref in generator:
            found.append(haz.get(ref))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(200))


@pytest.mark.filterwarnings("ignore:an ObjectRef was pickled:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:ObjectRef.* was pickled outside:RuntimeWarning")
def test_pickled_by_the_user(engine):
    generator = pickle.loads(pickle.dumps(count.remote(2)))
    assert haz.get(list(generator)) == [0, 1]


# ---- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_backpressure_loses_nothing(engine, limit):
    limited = count.options(_generator_backpressure_num_objects=limit)
    assert haz.get(list(limited.remote(50))) == list(range(50))


def test_backpressure_holds_the_generator_back(engine, tally):
    @haz.remote(_generator_backpressure_num_objects=3)
    def counted():
        while True:
            yield tally.add()

    generator = counted.remote()
    for taken in range(1, 20):
        ref = next(generator)
        # The item may have been yielded and counted by the time that it is taken.
        assert tally.count() <= taken + 3
        assert haz.get(ref) == taken
    del generator


def test_a_pipeline_with_limits(engine):
    @haz.remote(_generator_backpressure_num_objects=2)
    def add_one(generator):
        for ref in generator:
            yield haz.get(ref) + 1

    source = count.options(_generator_backpressure_num_objects=2).remote(30)
    assert haz.get(list(add_one.remote(add_one.remote(source)))) == list(range(2, 32))


def test_more_limited_generators_than_slots(engine):
    limited = count.options(_generator_backpressure_num_objects=1)
    generators = [limited.remote(5, start=i) for i in range(8)]
    rows = zip(*generators, strict=True)
    assert [haz.get(list(row)) for row in rows] == [list(range(k, k + 8)) for k in range(5)]


def test_a_time_limit_without_a_consumer(engine_name):
    haz.init(engine=engine_name, num_cpus=1)
    generator = count.options(_generator_backpressure_num_objects=2).remote(5)
    assert haz.get(identity.remote(1)) == 1, "a generator that waits takes no slot"
    assert haz.get(list(generator)) == [0, 1, 2, 3, 4]


# ---- dynamic -------------------------------------------------------------------------------------


def test_dynamic(engine):
    ref = count.options(num_returns="dynamic").remote(3)
    assert isinstance(ref, haz.ObjectRef)
    generator = haz.get(ref)
    assert isinstance(generator, haz.DynamicObjectRefGenerator)
    assert len(generator) == 3
    assert haz.get(list(generator)) == [0, 1, 2]
    assert len(generator) == 0
    assert haz.get(list(haz.get(ref))) == [0, 1, 2], "each get makes a new one"


def test_dynamic_as_an_argument(engine):
    assert haz.get(total.remote(count.options(num_returns="dynamic").remote(4))) == 6


def test_dynamic_errors(engine):
    first, second, last = haz.get(count_then_fail.options(num_returns="dynamic").remote(2))
    assert haz.get([first, second]) == [0, 1]
    with pytest.raises(KeyError, match="boom"):
        haz.get(last)


def test_dynamic_of_no_generator(engine):
    @haz.remote(num_returns="dynamic")
    def wrong():
        return 5

    (last,) = haz.get(wrong.remote())
    with pytest.raises(TypeError, match="returned one value of type int instead of a generator"):
        haz.get(last)


def test_dynamic_retries(engine, tally):
    @haz.remote(num_returns="dynamic", retry_exceptions=True)
    def flaky():
        yield tally.add()
        if tally.count() < 3:
            raise ValueError

    assert haz.get(list(haz.get(flaky.remote()))) == [3]


# ---- the run of haz ------------------------------------------------------------------------------


def test_after_shutdown(engine):
    generator = count.remote(2)
    next(generator)
    haz.shutdown()
    with pytest.raises(ObjectLostError, match="run of haz"):
        next(generator)
    with pytest.raises(ObjectLostError):
        haz.wait([generator])
    with pytest.raises(ObjectLostError):
        generator.completed()


def test_a_generator_of_an_earlier_run(engine_name):
    haz.init(engine=engine_name, num_cpus=1)
    generator = count.remote(2)
    haz.shutdown()
    haz.init(engine=engine_name, num_cpus=1)
    with pytest.raises(ObjectLostError, match="ended"):
        next(generator)
