"""Remote functions: what they are made of, their arguments, their results."""

from __future__ import annotations

import functools
import os
import threading

import haz
import pytest

SCALE = 10


@haz.remote
def add(a, b=1, *rest, c=0, **named):
    return a + b + sum(rest) + c + sum(named.values())


@haz.remote
def scaled(x):
    return x * SCALE


@haz.remote
def fibonacci(n):
    if n < 2:
        return n
    return sum(haz.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))


def plain_helper(x):
    return -x


@haz.remote
def uses_helper(x):
    return plain_helper(x)


@haz.remote
def identity(x):
    return x


@pytest.mark.parametrize(
    ("args", "kwargs", "result"),
    [
        ((1,), {}, 2),
        ((1, 2), {}, 3),
        ((1, 2, 3, 4), {}, 10),
        ((), {"a": 5}, 6),
        ((1,), {"b": 7}, 8),
        ((1,), {"c": 100}, 102),
        ((1, 1, 1), {"c": 1, "d": 1, "e": 1}, 6),
    ],
)
def test_arguments(engine, args, kwargs, result):
    assert haz.get(add.remote(*args, **kwargs)) == result


def test_global_of_the_module(engine):
    assert haz.get(scaled.remote(4)) == 40


def test_helper_function_of_the_module(engine):
    assert haz.get(uses_helper.remote(4)) == -4


def test_recursion_by_the_global_name(engine):
    assert haz.get(fibonacci.remote(6)) == 8


def test_recursion_in_a_local_function(engine):
    @haz.remote
    def down(n):
        return [n, *haz.get(down.remote(n - 1))] if n else []

    assert haz.get(down.remote(4)) == [4, 3, 2, 1]


def test_lambda(engine):
    assert haz.get(haz.remote(lambda x: x + 1).remote(1)) == 2


def test_closure(engine):
    base = [1, 2]

    @haz.remote
    def f(x):
        return [*base, x]

    assert haz.get(f.remote(3)) == [1, 2, 3]


def test_builtin_and_partial(engine):
    assert haz.get(haz.remote(len).remote([1, 2])) == 2
    assert haz.get(haz.remote(functools.partial(pow, 2)).remote(5)) == 32


def test_function_from_a_module_of_the_library(engine):
    import textwrap

    assert haz.get(haz.remote(textwrap.dedent).remote("  a")) == "a"


def test_bound_method(engine):
    assert haz.get(haz.remote("a,b".split).remote(",")) == ["a", "b"]


def test_wrapped_function(engine):
    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            return 2 * function(*args)

        return wrapper

    @haz.remote
    @twice
    def f(x):
        return x + 1

    assert f.__name__ == "f"
    assert haz.get(f.remote(1)) == 4


def test_redefinition_takes_effect(engine):
    results = []
    for version in (1, 2, 3):
        source = f"import haz\n@haz.remote\ndef cell():\n    return {version}\n"
        namespace = {"__name__": "notebook"}
        exec(source, namespace)
        results.append(haz.get(namespace["cell"].remote()))
    assert results == [1, 2, 3]


def test_redefined_helper_takes_effect(engine):
    namespace = {"__name__": "notebook"}
    exec("def helper(): return 1", namespace)
    exec("import haz\n@haz.remote\ndef cell(): return helper()", namespace)
    assert haz.get(namespace["cell"].remote()) == 1
    exec("def helper(): return 2", namespace)
    exec("@haz.remote\ndef cell(): return helper()", namespace)
    assert haz.get(namespace["cell"].remote()) == 2


def test_remote_function_as_an_argument(engine):
    @haz.remote
    def apply(function, x):
        return haz.get(function.remote(x))

    assert haz.get(apply.remote(scaled, 3)) == 30
    assert haz.get(apply.remote(scaled.options(name="renamed"), 3)) == 30


def test_remote_function_in_a_closure(engine):
    inner = haz.remote(lambda x: x + 1)

    @haz.remote
    def outer(x):
        return haz.get(inner.remote(x))

    assert haz.get([outer.remote(1), outer.remote(2)]) == [2, 3]


@pytest.mark.parametrize("is_bound", [False, True])
def test_kept_remote_in_a_task(engine, is_bound):
    @haz.remote
    def double(x, times=2):
        return times * x

    variant = double.options(name="variant")
    if is_bound:  # a first call makes another object of `remote`
        haz.get([double.remote(1), variant.remote(1)])
    kept = double.remote

    @haz.remote
    def call(submit, x):
        return haz.get([submit(x), kept(x, times=3)])

    assert haz.get(call.remote(double.remote, 3)) == [6, 9]
    assert haz.get(call.remote(variant.remote, 3)) == [6, 9]


def test_remote_function_as_a_result(engine):
    @haz.remote
    def make(n):
        return haz.remote(lambda x: x + n)

    assert haz.get(haz.get(make.remote(5)).remote(1)) == 6


# ---- refs as arguments -----------------------------------------------------------------------


def test_ref_as_an_argument_is_its_value(engine):
    assert haz.get(add.remote(haz.put(1), haz.put(2))) == 3
    assert haz.get(add.remote(1, c=haz.put(5))) == 7


def test_chain(engine):
    ref = haz.put(0)
    for _ in range(20):
        ref = add.remote(ref)
    assert haz.get(ref) == 20


def test_diamond(engine):
    top = add.remote(1)
    left, right = add.remote(top, 10), add.remote(top, 20)
    assert haz.get(add.remote(left, right)) == 34


def test_ref_in_a_container_stays_a_ref(engine):
    @haz.remote
    def kinds(x):
        return [isinstance(item, haz.ObjectRef) for item in (x["ref"], x["list"][0], x["value"])]

    ref = haz.put(1)
    assert haz.get(kinds.remote({"ref": ref, "list": [ref], "value": 1})) == [True, True, False]


def test_ref_in_a_container_can_be_got_in_the_task(engine):
    @haz.remote
    def total(refs):
        return sum(haz.get(refs))

    assert haz.get(total.remote([haz.put(1), add.remote(1)])) == 3


def test_same_ref_twice(engine):
    ref = haz.put([1])

    @haz.remote
    def f(a, b):
        return a + b

    assert haz.get(f.remote(ref, ref)) == [1, 1]


def test_refs_may_be_dropped_at_once(engine):
    @haz.remote
    def f(boxed, value):
        return haz.get(boxed[0]) + value

    refs = [f.remote([haz.put(i)], haz.put(i)) for i in range(10)]
    assert haz.get(refs) == [2 * i for i in range(10)]


def test_refs_in_a_result(engine):
    @haz.remote
    def spread(n):
        return [add.remote(i) for i in range(n)]

    refs = haz.get(spread.remote(4))
    assert haz.get(refs) == [1, 2, 3, 4]


def test_ref_as_a_result_is_a_ref(engine):
    @haz.remote
    def f():
        return haz.put("inner")

    assert haz.get(haz.get(f.remote())) == "inner"


def test_put_in_a_task(engine):
    @haz.remote
    def f():
        return haz.get(haz.put([1, 2]))

    assert haz.get(f.remote()) == [1, 2]


def test_wait_in_a_task(engine):
    @haz.remote
    def f():
        refs = [add.remote(i) for i in range(3)]
        ready, rest = haz.wait(refs, num_returns=3)
        return haz.get(ready), len(rest)

    assert haz.get(f.remote()) == ([1, 2, 3], 0)


# ---- nothing is shared -----------------------------------------------------------------------


def test_arguments_are_copies(engine):
    @haz.remote
    def spoil(x):
        x.append("spoilt")
        return x

    mine = ["mine"]
    assert haz.get(spoil.remote(mine)) == ["mine", "spoilt"]
    assert mine == ["mine"]


def test_arguments_are_copied_at_the_call(engine):
    mine = [1]
    ref = identity.remote(mine)
    mine.append(2)
    assert haz.get(ref) == [1]


def test_results_are_copies(engine):
    ref = identity.remote([1])
    haz.get(ref).append(2)
    assert haz.get(ref) == [1]


def test_object_twice_in_an_argument_is_one_object(engine):
    @haz.remote
    def same(a):
        return a[0] is a[1]["again"]

    value = [1]
    assert haz.get(same.remote([value, {"again": value}]))


def test_numpy_arrays(engine):
    numpy = pytest.importorskip("numpy")

    @haz.remote
    def f(a, b):
        return a.flags.writeable, a @ b

    a = numpy.arange(250_000.0).reshape(500, 500)
    writeable, product = haz.get(f.remote(haz.put(a), numpy.eye(500)))
    assert not writeable
    assert (product == a).all()
    with pytest.raises(ValueError, match="read-only"):
        product[0, 0] = 1
    a[0, 0] = 7  # the caller's own array is still the caller's


# ---- results ---------------------------------------------------------------------------------


def test_num_returns(engine):
    @haz.remote(num_returns=3)
    def three():
        return 1, [2], "3"

    refs = three.remote()
    assert type(refs) is list
    assert haz.get(refs) == [1, [2], "3"]


def test_num_returns_1_keeps_a_tuple(engine):
    assert haz.get(haz.remote(lambda: (1, 2)).remote()) == (1, 2)


def test_num_returns_0(engine, tally):
    @haz.remote(num_returns=0)
    def nothing(tally):
        tally.add()
        return 5

    assert nothing.remote(tally) is None
    from haz.testing import wait_until

    wait_until(lambda: tally.count() == 1)


def test_num_returns_by_options(engine):
    a, b = haz.remote(lambda: "ab").options(num_returns=2).remote()
    assert haz.get([b, a]) == ["b", "a"]


def test_num_returns_of_a_generator(engine):
    def squares(n):
        for i in range(n):
            yield i * i

    assert haz.get(haz.remote(num_returns=3)(squares).remote(3)) == [0, 1, 4]


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ((1, 2, 3), ValueError, "num_returns=2 and returned 3"),
        ((1,), ValueError, "num_returns=2 and returned 1"),
        (5, TypeError, "num_returns=2 and returned one value of type int"),
    ],
)
def test_wrong_number_of_results(engine, value, error, words):
    refs = haz.remote(num_returns=2)(lambda: value).remote()
    for ref in refs:
        with pytest.raises(error, match=words):
            haz.get(ref)


def test_error_is_in_every_result(engine):
    @haz.remote(num_returns=3)
    def f():
        raise KeyError("gone")

    for ref in f.remote():
        with pytest.raises(KeyError):
            haz.get(ref)


def test_many_tasks(engine):
    assert haz.get([add.remote(i) for i in range(500)]) == list(range(1, 501))


# ---- the call --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3, 4), {}, "too many positional arguments"),
        ((1,), {"zz": 1}, "unexpected keyword argument 'zz'"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
        ((1,), {}, "missing a required.* argument: 'k'"),
    ],
)
def test_call_that_does_not_fit(engine, args, kwargs, words):
    @haz.remote
    def f(x, y=2, z=3, *, k):
        return x

    if "'k'" not in words:
        kwargs = {"k": 1, **kwargs}
    with pytest.raises(TypeError, match=words) as caught:
        f.remote(*args, **kwargs)
    assert "f()" in str(caught.value)


def test_positional_only_and_keyword_only(engine):
    @haz.remote
    def f(a, /, b, *, c, d=4):
        return a, b, c, d

    assert haz.get(f.remote(1, b=2, c=3)) == (1, 2, 3, 4)
    assert haz.get(f.remote(1, 2, c=3, d=5)) == (1, 2, 3, 5)
    with pytest.raises(TypeError):
        f.remote(1, 2, 3)
    with pytest.raises(TypeError):
        f.remote(a=1, b=2, c=3)


def test_argument_named_self(engine):
    @haz.remote
    def f(self, function=1):
        return self, function

    assert haz.get(f.remote(self=1, function=2)) == (1, 2)


def test_what_cannot_be_pickled_is_named_at_the_call(engine):
    with pytest.raises(haz.exceptions.SerializationError, match="lock"):
        identity.remote({"mine": threading.Lock()})
    with pytest.raises(TypeError, match="lock"):
        haz.put([threading.Lock()])


def test_the_argument_that_cannot_be_pickled_is_named_too(engine):
    @haz.remote
    class Actor:
        def __init__(self, first=None, second=None):
            self.first = first

        def method(self, first=None, *, second=None):
            return first

    lock = threading.Lock()
    handle = Actor.remote()
    sum_up = haz.remote(lambda *args, **kwargs: None).options(name="irrelevant")
    for call, expected in [
        (lambda: identity.remote([lock]), "argument 1 of identity: item 0 of a list: _thread.lock"),
        (lambda: sum_up.remote(1, [2], x=lock), r"argument 'x' of .*<lambda>: _thread.lock"),
        (lambda: sum_up.remote(haz.put(1), lock), "argument 2 of .*<lambda>: _thread.lock"),
        (lambda: Actor.remote(1, lock), "argument 2 of Actor.__init__: _thread.lock"),
        (lambda: Actor.remote(second=(lock,)), "argument 'second' of Actor.__init__: item 0"),
        (lambda: handle.method.remote(lock), "argument 1 of Actor.method: _thread.lock"),
        (lambda: handle.method.remote(1, second=lock), "argument 'second' of Actor.method: _thr"),
        (lambda: haz.put({"a": lock}), "the value given to haz.put: item 'a' of a dict"),
    ]:
        with pytest.raises(haz.exceptions.SerializationError, match=expected) as caught:
            call()
        assert str(caught.value).startswith("can't pickle ")
        assert isinstance(caught.value.__cause__, TypeError)  # what pickle says


def test_a_default_that_cannot_be_pickled_is_named(engine):
    @haz.remote
    def f(x, guard=threading.Lock()):
        return x

    with pytest.raises(
        haz.exceptions.SerializationError,
        match=r"can't pickle a default of the decorated function '.*\.f' \(guard=\): _thread.lock",
    ):
        f.remote(1)


def test_closure_variable_that_cannot_be_pickled_is_named(engine):
    guard = threading.Lock()

    @haz.remote
    def f():
        return guard

    with pytest.raises(haz.exceptions.SerializationError, match="guard"):
        f.remote()


def test_result_that_cannot_be_pickled(engine):
    @haz.remote
    def f():
        return {"key": threading.Lock()}

    with pytest.raises(haz.exceptions.SerializationError, match="lock") as caught:
        haz.get(f.remote())
    assert isinstance(caught.value, haz.exceptions.TaskError)


# ---- options ---------------------------------------------------------------------------------


def test_name(engine):
    @haz.remote
    def f():
        return haz.get_runtime_context().get_task_name()

    assert haz.get(f.remote()).endswith("f")
    assert haz.get(f.options(name="shown").remote()) == "shown"
    assert haz.get(haz.remote(name="always")(f.__wrapped__).remote()) == "always"


def test_env_vars(engine):
    @haz.remote
    def f():
        return os.environ.get("HAZ_TEST_VARIABLE")

    special = f.options(runtime_env={"env_vars": {"HAZ_TEST_VARIABLE": "set"}})
    assert haz.get([f.remote(), special.remote(), f.remote()]) == [None, "set", None]


def test_same_working_directory_and_path(engine):
    @haz.remote
    def f():
        import sys

        return os.getcwd(), sys.path

    import sys

    cwd, path = haz.get(f.remote())
    assert cwd == os.getcwd()
    assert [entry for entry in sys.path if entry not in path] == []


def test_retry_exceptions(engine, tally):
    @haz.remote(retry_exceptions=[ConnectionError], max_retries=5)
    def flaky(tally):
        if tally.add() < 3:
            raise ConnectionResetError("again")
        return haz.get_runtime_context().get_attempt_number()

    assert haz.get(flaky.remote(tally)) == 2
    assert tally.count() == 3


def test_retry_any_exception(engine, tally):
    @haz.remote(retry_exceptions=True)
    def flaky(tally):
        if tally.add() < 2:
            raise ValueError("again")
        return "done"

    assert haz.get(flaky.remote(tally)) == "done"


def test_retries_are_used_up(engine, tally):
    @haz.remote(retry_exceptions=True, max_retries=2)
    def failing(tally):
        tally.add()
        raise ValueError("always")

    with pytest.raises(ValueError, match="always"):
        haz.get(failing.remote(tally))
    assert tally.count() == 3


@pytest.mark.parametrize(
    "options", [{}, {"retry_exceptions": [KeyError]}, {"retry_exceptions": True, "max_retries": 0}]
)
def test_no_retry(engine, tally, options):
    @haz.remote
    def failing(tally):
        tally.add()
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        haz.get(failing.options(**options).remote(tally))
    assert tally.count() == 1


def test_retry_sees_fresh_arguments(engine, tally):
    @haz.remote(retry_exceptions=True)
    def f(items, tally):
        items.append(1)
        if tally.add() < 2:
            raise ValueError
        return items

    assert haz.get(f.remote([0], tally)) == [0, 1]


def test_timeout_s(engine):
    import time

    @haz.remote(timeout_s=0.2)
    def sleeper(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        return "slept"

    with pytest.raises(haz.exceptions.TaskTimeoutError, match=r"sleeper.*0\.2 s") as caught:
        haz.get(sleeper.remote(60))
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.timeout_s == 0.2
    # The engine is well afterwards, and a task in time is not touched.
    assert haz.get([sleeper.options(timeout_s=60).remote(0), add.remote(1)]) == ["slept", 2]


def test_retried_exceptions_of_the_same_name(engine, tally):
    # As when a cell of a notebook that defines the exception is run again.
    @haz.remote
    def fails(kind):
        tally.add()
        raise kind

    def new_kind():
        class Again(Exception):
            pass

        return Again

    for tries in (2, 4):
        kind = new_kind()
        with pytest.raises(kind):
            haz.get(fails.options(max_retries=1, retry_exceptions=[kind]).remote(kind))
        assert tally.count() == tries


def test_names_of_keywords_that_are_subclasses_of_str(engine):
    import enum

    class Text(str):
        __slots__ = ()

    class Field(str, enum.Enum):
        WIDTH = "width"

    @haz.remote
    def area(width, **more):
        return width, more

    @haz.remote
    class Shape:
        def __init__(self, width):
            self.width = width

        def grow(self, width):
            return self.width + width

    for name in (Text("width"), Field.WIDTH):
        assert haz.get(area.remote(**{name: 2, Text("more"): 3})) == (2, {"more": 3})
        assert haz.get(Shape.remote(**{name: 2}).grow.remote(**{name: 1})) == 3
