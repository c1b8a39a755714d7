"""ActorPool, ActorGroup, as_completed, map_unordered: on every engine."""

from __future__ import annotations

import haz
import pytest
from haz import exceptions
from haz.util import ActorPool, as_completed, map_unordered
from haz.util.actor_group import ActorGroup, ActorGroupMethod


@haz.remote
class Worker:
    def __init__(self, factor=2):
        self.factor = factor

    def times(self, x):
        return self.factor * x

    def fail(self, x):
        if x == 2:
            raise KeyError(x)
        return x

    @haz.method(num_returns=2)
    def pair(self, x):
        return x, -x

    def who(self):
        return haz.get_runtime_context().get_actor_id()


@haz.remote
def square(x):
    return x * x


@haz.remote
def fail(x):
    if x == 2:
        raise KeyError(x)
    return x


def times(actor, x):
    return actor.times.remote(x)


# ---- ActorPool ---------------------------------------------------------------------------------


def pool_of(count):
    return ActorPool([Worker.remote() for _ in range(count)])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_map(engine, count):
    pool = pool_of(count)
    assert list(pool.map(times, range(10))) == [2 * x for x in range(10)]
    assert list(pool.map(times, [])) == []
    assert sorted(pool.map_unordered(times, range(10))) == [2 * x for x in range(10)]
    assert pool.has_free()


def test_submit_and_get_next(engine):
    pool = pool_of(2)
    assert not pool.has_next()
    for x in range(5):
        pool.submit(times, x)
    assert pool.has_next()
    assert not pool.has_free()
    assert [pool.get_next() for _ in range(5)] == [0, 2, 4, 6, 8]
    assert not pool.has_next()
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_get_next_with_a_timeout(engine):
    pool = pool_of(1)
    pool.submit(times, 1)
    assert pool.get_next(timeout=60) == 2
    pool.submit(times, 2)
    assert pool.get_next_unordered(timeout=60) == 4


def test_ordered_and_unordered_mixed(engine):
    pool = pool_of(3)
    for x in range(6):
        pool.submit(times, x)
    results = [pool.get_next_unordered(), pool.get_next(), pool.get_next_unordered()]
    results += [pool.get_next() for _ in range(3)]
    assert sorted(results) == [0, 2, 4, 6, 8, 10]


def test_errors_do_not_lose_actors(engine):
    pool = pool_of(1)
    for x in (1, 2, 3):
        pool.submit(lambda actor, x: actor.fail.remote(x), x)
    assert pool.get_next() == 1
    with pytest.raises(KeyError):
        pool.get_next()
    assert pool.get_next() == 3
    assert pool.has_free()


def test_map_forgets_what_was_not_taken(engine):
    pool = pool_of(2)
    for x in range(5):
        pool.submit(lambda actor, x: actor.fail.remote(x), x)
    assert list(pool.map(times, [10, 20])) == [20, 40]


def test_several_returns(engine):
    pool = pool_of(2)
    assert list(pool.map(lambda actor, x: actor.pair.remote(x), [1, 2])) == [[1, -1], [2, -2]]


def test_push_and_pop(engine):
    first, second = Worker.remote(), Worker.remote()
    pool = ActorPool([first])
    pool.push(second)
    assert {pool.pop_idle(), pool.pop_idle()} == {first, second}
    assert pool.pop_idle() is None
    pool.submit(times, 1)  # waits for an actor
    assert not pool.has_next()
    pool.push(first)
    assert pool.has_next()
    assert pool.pop_idle() is None
    with pytest.raises(ValueError, match="in the pool already"):
        pool.push(first)
    assert pool.get_next() == 2
    assert pool.pop_idle() == first


def test_wrong_use_of_a_pool(engine):
    pool = pool_of(1)
    with pytest.raises(TypeError, match="must return the ref"):
        pool.submit(lambda actor, x: x, 1)
    assert pool.has_free()  # the actor is not lost
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda actor, x: 1 // 0, 1)
    assert pool.has_free()
    with pytest.raises(ValueError, match="no actors"):
        ActorPool([]).map(times, [1])


# ---- as_completed, map_unordered ---------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 2, 10])
def test_as_completed(engine, chunk_size):
    refs = [square.remote(i) for i in range(7)]
    assert sorted(as_completed(refs, chunk_size=chunk_size)) == [i * i for i in range(7)]
    found = list(as_completed(refs, chunk_size=chunk_size, yield_obj_refs=True))
    assert set(found) == set(refs)
    assert len(found) == 7


def test_as_completed_of_nothing(engine):
    assert list(as_completed([])) == []


def test_as_completed_with_a_failure(engine):
    refs = [fail.remote(i) for i in range(4)]
    haz.wait(refs, num_returns=4)
    seen = []
    with pytest.raises(KeyError):
        for value in as_completed(refs):
            seen.append(value)
    assert seen == [0, 1]


def test_wrong_use_of_as_completed(engine):
    ref = square.remote(1)
    with pytest.raises(TypeError, match="not an ObjectRef"):
        as_completed([1])
    with pytest.raises(ValueError, match="twice"):
        as_completed([ref, ref])
    with pytest.raises(ValueError, match="chunk_size"):
        as_completed([ref], chunk_size=0)


@pytest.mark.parametrize("backpressure_size", [1, 3, 100, None])
def test_map_unordered(engine, backpressure_size):
    found = map_unordered(square, range(20), backpressure_size=backpressure_size)
    assert sorted(found) == [i * i for i in range(20)]


def test_map_unordered_reads_as_it_goes(engine):
    read = []

    def items():
        for i in range(1000):
            read.append(i)
            yield i

    results = map_unordered(square, items(), backpressure_size=5)
    assert read == []
    assert next(results) in [i * i for i in range(5)]
    assert len(read) == 5
    for _ in range(20):
        next(results)
    assert len(read) <= 30


def test_map_unordered_with_an_actor(engine):
    assert sorted(map_unordered(Worker.remote().times, [1, 2, 3])) == [2, 4, 6]
    refs = list(map_unordered(square, [1, 2], yield_obj_refs=True))
    assert sorted(haz.get(refs)) == [1, 4]
    with pytest.raises(TypeError, match=r"no \.remote"):
        map_unordered(len, [1])


# ---- ActorGroup --------------------------------------------------------------------------------


class Plain:
    def __init__(self, x=0, *, y=0):
        self.x, self.y = x, y

    def get(self):
        return self.x, self.y

    def add(self, number):
        self.x += number
        return self.x


@pytest.mark.parametrize("cls", [Plain, haz.remote(Plain)])
def test_group(engine, cls):
    group = ActorGroup(cls, 2, num_cpus_per_actor=0, init_args=(1,), init_kwargs={"y": 2})
    assert len(group) == 2
    assert haz.get(group.get.remote()) == [(1, 2), (1, 2)]
    assert haz.get(group.add.remote(1)) == [2, 2]
    assert haz.get(group[0].add.remote(1)) == 3
    assert haz.get(group.get.remote()) == [(3, 2), (2, 2)]
    assert list(group) == group.actors == [group[0], group[1]]
    assert isinstance(group.get, ActorGroupMethod)


def test_group_grows_and_shrinks(engine):
    group = ActorGroup(Plain, 1, num_cpus_per_actor=0)
    group.add_actors(2)
    haz.get(group.add.remote(1))
    kept = group[1]
    group.remove_actors([0, -1])
    assert group.actors == [kept]
    assert haz.get(group.get.remote()) == [(1, 0)]


def test_group_shutdown_and_start(engine):
    group = ActorGroup(Plain, 2, num_cpus_per_actor=0)
    actors = group.actors
    with pytest.raises(RuntimeError, match="run already"):
        group.start()
    group.shutdown()
    for actor in actors:
        with pytest.raises(exceptions.ActorDiedError):
            haz.get(actor.get.remote())
    with pytest.raises(RuntimeError, match="no actors"):
        group.get.remote()
    group.start()
    assert haz.get(group.get.remote()) == [(0, 0), (0, 0)]
    group.shutdown(patience_s=0)


def test_metadata_of_a_group(engine):
    group = ActorGroup(Plain, 2, num_cpus_per_actor=0)
    for found in group.actor_metadata:
        assert found.node_id == haz.get_runtime_context().get_node_id()
        assert found.hostname
        assert found.pid > 0
        assert found.gpu_ids is None


def test_wrong_use_of_a_group(engine):
    with pytest.raises(ValueError, match="num_actors"):
        ActorGroup(Plain, 0)
    with pytest.raises(ValueError, match="num_cpus_per_actor"):
        ActorGroup(Plain, 1, num_cpus_per_actor=-1)
    group = ActorGroup(Plain, 1)
    with pytest.raises(AttributeError, match="did you mean 'get'"):
        group.gett
    with pytest.raises(TypeError, match=r"group\.get\.remote"):
        group.get()
