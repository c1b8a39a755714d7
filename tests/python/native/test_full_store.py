"""A store that is smaller than what passes through it: producers wait, consumers go on."""

from __future__ import annotations

import threading

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until

np = pytest.importorskip("numpy")

MB = 1_000_000
N = 60


@pytest.fixture(params=[1, 4], ids=["1 CPU", "4 CPUs"])
def small_store(request):
    # Seven values of make() fit.
    haz.init(engine="native", num_cpus=request.param, object_store_memory=60 * MB)


@haz.remote
def make(i):
    return np.full(MB, float(i))


@haz.remote
def make_great():
    return np.full(5 * MB, 1.0)


@haz.remote
def double(array):
    return array * 2


@haz.remote
def first(array):
    return float(array[0])


def test_producers_and_consumers(small_store):
    assert haz.get([first.remote(make.remote(i)) for i in range(N)]) == list(range(N))


def test_all_producers_come_before_their_consumers(small_store):
    made = [make.remote(i) for i in range(N)]
    ends = [first.remote(made.pop(0)) for _ in range(N)]
    assert haz.get(ends) == list(range(N))


def test_stages(small_store):
    ends = [first.remote(double.remote(double.remote(make.remote(i)))) for i in range(N)]
    assert haz.get(ends) == [4 * i for i in range(N)]


def test_two_returns(small_store):
    @haz.remote(num_returns=2)
    def make_two(i):
        return np.full(MB, float(i)), np.full(MB, 1.0)

    @haz.remote
    def add(a, b):
        return float(a[0] + b[0])

    assert haz.get([add.remote(*make_two.remote(i)) for i in range(N)]) == list(range(1, N + 1))


def test_an_argument_that_is_made_late(small_store):
    @haz.remote
    def weight(i):
        return float(i)

    @haz.remote
    def weighted(array, factor):
        return float(array[0]) * factor

    made = [make.remote(i) for i in range(N)]
    weights = [weight.remote(2) for _ in range(N)]
    ends = [weighted.remote(made.pop(0), weights.pop(0)) for _ in range(N)]
    assert haz.get(ends) == [2 * i for i in range(N)]


def test_a_tree(small_store):
    @haz.remote
    def add(a, b):
        return a + b

    arrays = [make.remote(i) for i in range(16)]
    while len(arrays) > 1:
        arrays.append(add.remote(arrays.pop(0), arrays.pop(0)))
    assert haz.get(first.remote(arrays.pop())) == sum(range(16))


def test_generators_and_consumers(small_store):
    @haz.remote
    def generate(n):
        for i in range(n):
            yield np.full(MB, float(i))

    @haz.remote
    def consume(generator):
        return sum(float(haz.get(ref)[0]) for ref in generator)

    ends = [consume.remote(generate.remote(6)) for _ in range(20)]
    assert haz.get(ends) == [15.0] * 20


def test_an_actor_that_consumes_in_order(small_store):
    @haz.remote(num_cpus=0)
    class Total:
        def __init__(self):
            self.seen = []

        def add(self, array):
            self.seen.append(int(array[0]))
            return len(self.seen)

        def all(self):
            return self.seen

    total = Total.remote()
    for i in range(N):
        total.add.remote(make.remote(i))
    assert haz.get(total.all.remote()) == list(range(N))


def test_put_in_tasks(small_store):
    @haz.remote
    def puts(i):
        return [haz.put(np.full(MB, float(i)))]

    @haz.remote
    def first_of(refs):
        return float(haz.get(refs[0])[0])

    assert haz.get([first_of.remote(puts.remote(i)) for i in range(N)]) == list(range(N))


def test_nested_pipelines(small_store):
    @haz.remote
    def parent(n):
        return sum(haz.get([first.remote(double.remote(make.remote(i))) for i in range(n)]))

    assert haz.get([parent.remote(8) for _ in range(6)]) == [56.0] * 6


def test_results_that_the_driver_takes_one_by_one(small_store):
    refs = [make.remote(i) for i in range(N)]
    for i in range(N):
        assert haz.get(refs.pop(0))[0] == i


def test_the_error_says_who_holds_the_store():
    haz.init(engine="native", num_cpus=1, object_store_memory=60 * MB)
    kept = haz.put(bytes(50 * MB))
    with pytest.raises(exceptions.ObjectStoreFullError, match=r"driver: 50\.0 MB") as caught:
        haz.put(bytes(20 * MB))
    assert kept.hex() in str(caught.value)


def test_put_waits_for_what_another_thread_frees():
    haz.init(engine="native", num_cpus=1, object_store_memory=60 * MB)
    kept = [haz.put(bytes(50 * MB))]
    other = threading.Timer(0.4, kept.clear)  # a program of one thread would wait for 0.1 s
    other.start()
    assert len(haz.get(haz.put(bytes(20 * MB)))) == 20 * MB
    assert kept == []
    other.join()


@pytest.mark.slow
def test_get_waits_for_what_another_thread_frees():
    haz.init(engine="native", num_cpus=2, object_store_memory=60 * MB)
    kept = [haz.put(bytes(50 * MB))]
    other = threading.Timer(13, kept.clear)  # a program of one thread would wait for 10 s
    other.start()
    assert haz.get(make_great.remote()).nbytes == 40 * MB  # not even beyond the limit
    assert kept == []
    other.join()


@pytest.mark.slow
def test_put_does_not_wait_for_ever_for_other_threads():
    haz.init(engine="native", num_cpus=1, object_store_memory=60 * MB)
    kept = haz.put(bytes(50 * MB))
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with pytest.raises(exceptions.ObjectStoreFullError, match=kept.hex()):
            haz.put(bytes(20 * MB))
    finally:
        end.set()
        other.join()


@pytest.mark.slow
def test_a_driver_that_computes_for_long_is_waited_for_and_told(capfd):
    haz.init(engine="native", num_cpus=2, object_store_memory=60 * MB)
    kept = haz.put(bytes(55 * MB))
    refs = [make.remote(i) for i in range(4)]
    told = []

    def is_told():
        told.append(capfd.readouterr().err)
        return "the object store is full" in "".join(told)

    wait_until(is_told, deadline_s=60)
    assert "driver: 55.0 MB" in "".join(told)
    assert haz.wait(refs, num_returns=4, timeout=1)[0] == []
    del kept
    assert [array[0] for array in haz.get(refs)] == [0, 1, 2, 3]


@pytest.mark.slow
def test_more_than_the_driver_can_hold_is_an_error():
    haz.init(engine="native", num_cpus=2, object_store_memory=60 * MB)
    refs = [make.remote(i) for i in range(32)]
    with pytest.raises(exceptions.ObjectStoreFullError, match="the driver"):
        haz.get(refs)
    refs.clear()
    assert haz.get(first.remote(make.remote(5))) == 5
