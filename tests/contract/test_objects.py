"""Objects and refs: put, get, wait, free, and what a ref is."""

from __future__ import annotations

import copy
import gc
import pickle
import random
import sys
import warnings

import haz
import pytest
from haz import exceptions


@haz.remote
def echo(x):
    return x


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Point) and other.x == self.x

    __hash__ = None


VALUES = [
    None,
    True,
    0,
    -1,
    2**100,
    1.5,
    float("inf"),
    3 + 4j,
    "",
    "text é 你好 \U0001f600",
    "lone \ud800 surrogate",
    b"",
    b"bytes\0",
    bytearray(b"abc"),
    (),
    (1, "a", None),
    [],
    [1, [2, [3]]],
    {},
    {"a": 1, 2: [3], None: ()},
    {1, 2},
    frozenset((1, 2)),
    range(5),
    slice(1, 2),
    Ellipsis,
    Point(3),
    ValueError("as a value"),
    int,
    len,
]


def same(a, b):
    if isinstance(a, BaseException):
        return type(a) is type(b) and a.args == b.args
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_values(engine, value):
    assert same(haz.get(haz.put(value)), value)
    assert same(haz.get(echo.remote(value)), value)
    assert same(haz.get(echo.remote([value]))[0], value)


def test_nan(engine):
    value = haz.get(echo.remote(float("nan")))
    assert value != value


@pytest.mark.parametrize("size", [0, 1, 100, 5_000, 200_000, 20_000_000])
def test_sizes(engine, size):
    data = bytes(range(256)) * (size // 256) + b"\1" * (size % 256)
    assert haz.get(haz.put(data)) == data
    assert haz.get(echo.remote(data)) == data


def test_numpy(engine):
    numpy = pytest.importorskip("numpy")
    for array in (
        numpy.arange(10),
        numpy.zeros((0, 3)),
        numpy.asfortranarray(numpy.arange(12.0).reshape(3, 4)),
        numpy.arange(100)[::7],
        numpy.array(["a", None, 3], dtype=object),
        numpy.array(5),
        numpy.arange(300_000, dtype="f4"),
    ):
        got = haz.get(echo.remote(array))
        assert got.dtype == array.dtype
        assert got.shape == array.shape
        assert (got == array).all()


def test_put_takes_a_copy(engine):
    value = {"a": [1]}
    ref = haz.put(value)
    value["a"].append(2)
    assert haz.get(ref) == {"a": [1]}


def test_put_of_a_ref_is_refused(engine):
    with pytest.raises(TypeError, match="list"):
        haz.put(haz.put(1))
    inner = haz.put(1)
    assert haz.get(haz.get(haz.put([inner]))[0]) == 1


# ---- get -------------------------------------------------------------------------------------


def test_get_of_several(engine):
    refs = [haz.put(i) for i in range(5)]
    assert haz.get(refs) == [0, 1, 2, 3, 4]
    assert haz.get(tuple(refs[:2])) == [0, 1]
    assert haz.get([refs[0], refs[0]]) == [0, 0]
    assert haz.get([]) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (5, "not int"),
        (None, "not NoneType"),
        ("text", "not str"),
        ({"a": 1}, "not dict"),
        pytest.param((x for x in ()), "not generator; make a list", id="generator"),
        ([1], r"1 \(int\) is not an ObjectRef"),
        ([None], "is not an ObjectRef"),
        ([[]], "is not an ObjectRef"),
    ],
    ids=str,
)
def test_get_of_something_else(engine, wrong, words):
    with pytest.raises(TypeError, match=words):
        haz.get(wrong)


def test_not_implemented_is_a_value(engine):
    assert haz.get(haz.put(NotImplemented)) is NotImplemented
    assert haz.get([haz.put(NotImplemented)]) == [NotImplemented]


def test_get_of_nested_lists(engine):
    ref = haz.put(1)
    with pytest.raises(TypeError, match="one by one"):
        haz.get([[ref]])
    with pytest.raises(TypeError, match="not set; make a list"):
        haz.get({ref})
    with pytest.raises(TypeError):
        haz.get([ref, 5])


@pytest.mark.parametrize("timeout", [0, 0.0, 1, 10.5, None])
def test_get_in_time(engine, timeout):
    ref = echo.remote(1)
    haz.wait([ref])
    assert haz.get(ref, timeout=timeout) == 1
    assert haz.get([ref], timeout=timeout) == [1]


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), ("1", TypeError), (float("nan"), ValueError)]
)
def test_wrong_timeout(engine, timeout, error):
    with pytest.raises(error, match="timeout"):
        haz.get(haz.put(1), timeout=timeout)
    with pytest.raises(error, match="timeout"):
        haz.wait([haz.put(1)], timeout=timeout)


def test_timeouts_of_all_kinds_of_numbers(engine):
    np = pytest.importorskip("numpy")
    ref = haz.put(1)
    for timeout in (10**400, 1e308, float("inf"), np.int64(9), np.float32(9)):
        assert haz.get(ref, timeout=timeout) == 1
        assert haz.wait([ref], timeout=timeout) == ([ref], [])


def test_get_again_and_again(engine):
    ref = echo.remote([1])
    assert [haz.get(ref) for _ in range(3)] == [[1]] * 3


def test_get_raises_the_first_error_of_the_list(engine):
    @haz.remote
    def fail(error):
        raise error

    refs = [haz.put(1), fail.remote(KeyError("first")), fail.remote(ValueError("second"))]
    haz.wait(refs, num_returns=3)  # without it `get` raises the error that comes first
    with pytest.raises(KeyError, match="first"):
        haz.get(refs)


# ---- wait ------------------------------------------------------------------------------------


def test_wait(engine):
    refs = [haz.put(i) for i in range(4)]
    ready, rest = haz.wait(refs)
    assert type(ready) is list
    assert type(rest) is list
    assert (ready, rest) == (refs[:1], refs[1:])
    assert haz.wait(refs, num_returns=3) == (refs[:3], refs[3:])
    assert haz.wait(refs, num_returns=4, timeout=0) == (refs, [])
    assert haz.wait(tuple(refs), num_returns=4) == (refs, [])
    assert haz.wait(refs, num_returns=4, fetch_local=False) == (refs, [])
    assert haz.wait([]) == ([], [])


def test_wait_one_by_one(engine):
    rest = [echo.remote(i) for i in range(20)]
    seen = []
    while rest:
        ready, rest = haz.wait(rest)
        assert len(ready) == 1
        seen += haz.get(ready)
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 100])
def test_wait_splits_any_list_in_its_order(engine, count):
    refs = [haz.put(i) for i in range(count)]
    rng = random.Random(count)
    for _ in range(10):
        rng.shuffle(refs)
        num_returns = rng.randint(1, count)
        before = list(refs)
        ready, rest = haz.wait(refs, num_returns=num_returns)
        assert (ready, rest) == (refs[:num_returns], refs[num_returns:])
        assert refs == before


def test_wait_counts_refs_right(engine):
    refs = [haz.put(i) for i in range(50)]
    counts = [sys.getrefcount(ref) for ref in refs]
    for num_returns in (1, 7, 50):
        haz.wait(refs, num_returns=num_returns)
    for wrong in ([*refs, 5], [*refs, refs[3]], [*reversed(refs), refs[0]]):
        with pytest.raises((TypeError, ValueError)):
            haz.wait(wrong)
    del wrong
    gc.collect()
    assert [sys.getrefcount(ref) for ref in refs] == counts


def test_wait_finds_equal_refs_anywhere(engine):
    refs = [haz.put(i) for i in range(60)]
    (twin,) = haz.get(echo.remote([refs[40]]))
    assert twin == refs[40]
    assert twin is not refs[40]
    for place in (0, 20, 41, 60):
        for wrong in (
            [*refs[:place], twin, *refs[place:]],
            [*refs[:place], refs[40], *refs[place:]],
        ):
            with pytest.raises(ValueError, match="twice"):
                haz.wait(wrong)
    assert haz.wait([twin, *refs[:40]]) == ([twin], refs[:40])
    assert len(haz.wait(list(reversed(refs)), num_returns=60)[0]) == 60


def test_wait_for_a_failed_task(engine):
    @haz.remote
    def fail():
        raise ValueError

    ref = fail.remote()
    assert haz.wait([ref]) == ([ref], [])


def test_wait_is_strict(engine):
    refs = [haz.put(0), haz.put(1)]
    with pytest.raises(ValueError, match="twice"):
        haz.wait([refs[0], refs[1], refs[0]])
    with pytest.raises(ValueError, match="only 2 refs"):
        haz.wait(refs, num_returns=3)
    with pytest.raises(ValueError, match="1 or more"):
        haz.wait(refs, num_returns=0)
    with pytest.raises(ValueError, match="1 or more"):
        haz.wait(refs, num_returns=-1, timeout=1)
    with pytest.raises(TypeError, match="integer"):
        haz.wait(refs, num_returns=True)
    with pytest.raises(ValueError, match="timeout"):
        haz.wait(refs, timeout=-1)
    with pytest.raises(TypeError, match="integer"):
        haz.wait(refs, num_returns=1.5)
    with pytest.raises(TypeError, match=r"haz.wait\(\[ObjectRef"):
        haz.wait(refs[0])
    with pytest.raises(TypeError, match="not set"):
        haz.wait(set(refs))
    with pytest.raises(TypeError, match="is not an ObjectRef"):
        haz.wait([refs[0], 5])
    with pytest.raises(TypeError):
        haz.wait(refs, 1)


# ---- refs ------------------------------------------------------------------------------------


def test_ref_is_a_key(engine):
    a, b = haz.put(1), haz.put(1)
    assert a != b
    assert len({a, b, a}) == 2
    assert {a: "a", b: "b"}[b] == "b"
    assert a != a.hex()
    assert (a == None) is False  # noqa: E711


def test_ref_from_elsewhere_is_equal(engine):
    ref = haz.put(1)
    again = haz.get(haz.put([ref]))[0]
    assert again == ref
    assert hash(again) == hash(ref)
    assert again.hex() == ref.hex()
    back = haz.get(haz.get(echo.remote([[ref]]))[0][0])
    assert back == 1


def test_ref_has_an_id(engine):
    ref = haz.put(1)
    assert repr(ref) == str(ref) == f"ObjectRef({ref.hex()})"
    assert len(ref.hex()) == 32
    assert ref.binary() == bytes.fromhex(ref.hex())
    assert isinstance(ref, haz.ObjectRef)
    assert len({haz.put(i).hex() for i in range(100)}) == 100


def test_ref_copies_are_the_ref(engine):
    ref = haz.put(1)
    assert copy.copy(ref) == ref
    assert copy.deepcopy([ref]) == [ref]


def test_object_lives_as_long_as_a_ref_anywhere(engine):
    outer = haz.put([haz.put("inner")])
    gc.collect()
    inner = haz.get(outer)[0]
    del outer
    gc.collect()
    assert haz.get(inner) == "inner"


def test_ref_pickled_outside_of_haz_warns_and_keeps_its_object(engine):
    ref = haz.put("kept")
    haz._core.runtime.runtime._warned.discard("pickled_ref")
    with pytest.warns(RuntimeWarning, match="outside"):
        data = pickle.dumps(ref)
    del ref
    gc.collect()
    assert haz.get(pickle.loads(data)) == "kept"


def test_ref_of_another_run_is_refused(engine, engine_name):
    old = haz.put(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pickle.dumps(old)
    haz.shutdown()
    with pytest.raises(exceptions.ObjectLostError):
        haz.get(old)
    with pytest.raises(exceptions.ObjectLostError):
        haz.wait([old])
    haz.init(engine=engine_name, num_cpus=1)
    for attempt in (
        lambda: haz.get(old),
        lambda: haz.get([haz.put(1), old]),
        lambda: haz.wait([old]),
        lambda: haz.cancel(old),
        lambda: echo.remote(old),
        lambda: haz.get(pickle.loads(data)),
    ):
        with pytest.raises(exceptions.ObjectLostError):
            attempt()
    assert haz.get(echo.remote(1)) == 1


def test_values_outlive_the_runtime(engine):
    numpy = pytest.importorskip("numpy")
    array = haz.get(haz.put(numpy.arange(1_000_000)))
    haz.shutdown()
    gc.collect()
    assert array.sum() == 499999500000


def test_free(engine):
    ref, other = haz.put([1]), haz.put([2])
    haz.free([ref])
    with pytest.raises(exceptions.ObjectFreedError):
        haz.get(ref)
    with pytest.raises(exceptions.ObjectLostError):
        haz.get(echo.remote(ref))
    assert haz.get(other) == [2]
    haz.free(other)
    with pytest.raises(exceptions.ObjectFreedError):
        haz.get([other])
    with pytest.raises(TypeError):
        haz.free(5)


def test_store_that_is_full(engine_name):
    haz.init(engine=engine_name, num_cpus=1, object_store_memory=80_000_000)
    kept = haz.put(b"k" * 30_000_000)
    with pytest.raises(exceptions.ObjectStoreFullError, match="object_store_memory"):
        haz.put(b"x" * 90_000_000)
    # Room comes back when refs go, and what was there is untouched.
    for _ in range(10):
        haz.put(b"y" * 30_000_000)
    assert haz.get(kept) == b"k" * 30_000_000


def test_result_for_which_there_is_no_room(engine_name):
    haz.init(engine=engine_name, num_cpus=1, object_store_memory=80_000_000)
    make = haz.remote(lambda n: b"x" * n)
    with pytest.raises(exceptions.ObjectStoreFullError):
        haz.get(make.remote(90_000_000))
    assert len(haz.get(make.remote(1_000_000))) == 1_000_000
