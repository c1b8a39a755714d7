"""RemoteFunction without an engine of its own: a fake one records what it is asked."""

from __future__ import annotations

import functools
import gc
import inspect
import pickle
import weakref

import cloudpickle
import haz
import pytest
from haz._core.runtime import Runtime, runtime
from haz.actor import ActorClass


class FakeEngine:
    name = "fake"

    def __init__(self):
        self.binds = []
        self.calls = []

    def bind_task(self, function, options, descriptor, again):
        self.binds.append((function, options, descriptor))

        def submit(*args, **kwargs):
            self.calls.append((args, kwargs))
            return len(self.calls)

        return submit

    def context(self):
        return {"node_id": "n"}

    def shutdown(self):
        pass


@pytest.fixture
def fake(monkeypatch):
    engine = FakeEngine()
    monkeypatch.setattr("haz._core.runtime._create_engine", lambda name, options: engine)
    yield engine
    haz.shutdown()


def plain(x, y=2):
    """Says something."""
    return x + y


def test_looks_like_the_function():
    f = haz.remote(plain)
    assert isinstance(f, haz.RemoteFunction)
    assert f.__name__ == "plain"
    assert f.__qualname__ == "plain"
    assert f.__module__ == plain.__module__
    assert f.__doc__ == "Says something."
    assert f.__wrapped__ is plain
    assert str(inspect.signature(f)) == "(x, y=2)"
    assert repr(f) == f"<RemoteFunction {plain.__module__}.plain>"
    assert f.__wrapped__(1) == 3


def test_attributes_of_the_function():
    def function():
        pass

    function.mark = 5
    function.remote = "not this"
    f = haz.remote(function)
    assert f.mark == 5
    assert callable(f.remote)


def test_decorator_with_arguments():
    @haz.remote(num_cpus=2, num_returns=3)
    def f():
        pass

    assert (f._options.num_cpus, f._options.num_returns) == (2.0, 3)
    assert haz.remote()(plain).__wrapped__ is plain


def test_direct_call_names_remote():
    with pytest.raises(TypeError, match=r"plain\.remote\(\.\.\.\)"):
        haz.remote(plain)(1)


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((1,), {}, "functions and classes, not for 1"),
        (("text",), {}, "not for 'text'"),
        ((None,), {}, "not for None"),
        ((plain, 2), {}, "keywords only"),
        ((plain,), {"num_cpus": 2}, "keywords only"),
        ((staticmethod(plain),), {}, "staticmethod"),
    ],
)
def test_wrong_use_of_the_decorator(args, kwargs, words):
    with pytest.raises(TypeError, match=words):
        haz.remote(*args, **kwargs)


def test_twice_remote():
    with pytest.raises(TypeError, match="remote already"):
        haz.remote(haz.remote(plain))


def test_async_function():
    async def f():
        pass

    async def g():
        yield

    for function in (f, g):
        with pytest.raises(ValueError, match=r"asyncio\.run"):
            haz.remote(function)


def test_generator_function():
    def numbers():
        yield 1

    assert haz.remote(numbers)._options.num_returns == "streaming"
    assert haz.remote(num_returns=None)(numbers)._options.num_returns == "streaming"
    assert haz.remote(num_returns=1)(numbers)._options.num_returns == 1
    limited = haz.remote(_generator_backpressure_num_objects=3)(numbers)
    assert limited._options.items_ahead == 3
    assert limited.options(num_returns="dynamic")._options.num_returns == "dynamic"
    assert haz.remote(_generator_backpressure_num_objects=-1)(numbers)._options.items_ahead == 0


def test_classes_become_actor_classes():
    class Counter:
        pass

    assert isinstance(haz.remote(Counter), ActorClass)
    assert isinstance(haz.remote(num_cpus=1, max_restarts=2)(Counter), ActorClass)


# ---- binding ---------------------------------------------------------------------------------


def test_binds_once(fake):
    f = haz.remote(plain)
    assert [f.remote(1), f.remote(2, y=3)] == [1, 2]
    assert fake.calls == [((1,), {}), ((2,), {"y": 3})]
    assert len(fake.binds) == 1
    function, options, descriptor = fake.binds[0]
    assert function is plain
    assert options is f._options
    assert (descriptor.name, descriptor.min_args, descriptor.max_args) == ("plain", 1, 2)
    # From then on the attribute is the engine's own callable.
    assert f.remote is f.__dict__["remote"]
    assert f.remote.__qualname__.startswith("FakeEngine.bind_task")


def test_variants_share_a_descriptor(fake):
    f = haz.remote(plain)
    f.remote(1)
    f.options(name="a").remote(1)
    f.options(name="b").options(num_cpus=2).remote(1)
    assert len({id(descriptor) for _, _, descriptor in fake.binds}) == 1
    assert [options.name for _, options, _ in fake.binds] == [None, "a", "b"]
    assert haz.remote(plain)._descriptor.uid != f._descriptor.uid


def test_options_in_a_loop_bind_once(fake):
    f = haz.remote(plain)
    for _ in range(10):
        f.options(name="a", num_cpus=1).remote(1)
    assert len(fake.binds) == 1
    for _ in range(3):
        f.options(resources={"a": 1}).remote(1)  # can't be a key: made anew, but works
    assert len(fake.binds) == 4


def test_options_that_are_equal_but_of_another_kind():
    f = haz.remote(plain)
    assert f.options(retry_exceptions=True)._options.retry_exceptions is True
    with pytest.raises(TypeError):
        f.options(retry_exceptions=1)


def test_variants_do_not_pile_up():
    f = haz.remote(plain)
    for number in range(1000):
        f.options(name=str(number))
    assert len(f._variants) <= 64


def test_shutdown_unbinds(fake):
    f = haz.remote(plain)
    f.remote(1)
    haz.shutdown()
    assert "remote" not in f.__dict__
    f.remote(1)
    assert len(fake.binds) == 2


def test_bind_error_leaves_it_unbound(fake, monkeypatch):
    f = haz.remote(plain)

    def refuse(*args):
        raise ValueError("no")

    monkeypatch.setattr(fake, "bind_task", refuse)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            f.remote(1)
    monkeypatch.undo()


def test_bind_that_comes_too_late_is_dropped():
    first, second = FakeEngine(), FakeEngine()
    mine = Runtime()
    f = haz.remote(plain)
    mine.engine = second
    mine.bind(f, first, lambda: "first")
    assert "remote" not in f.__dict__
    mine.bind(f, second, lambda: "second")
    assert f.remote() == "second"


def test_remote_functions_can_be_collected(fake):
    f = haz.remote(lambda: 1)
    unused = haz.remote(lambda: 1)
    f.remote()
    f.options(name="x").remote()
    weak, weak_unused = weakref.ref(f), weakref.ref(unused)
    fake.binds.clear()
    before = len(runtime._bound)
    gc.disable()  # references alone must be enough
    try:
        del f, unused
        assert weak() is None
        assert weak_unused() is None
    finally:
        gc.enable()
    assert len(runtime._bound) == before - 2


def test_variant_of_a_function_that_is_gone(fake):
    def call():
        return haz.remote(lambda: 1).options(name="x").remote()

    assert call() == 1


# ---- pickling --------------------------------------------------------------------------------


def test_pickled_with_options_and_identity(fake):
    f = haz.remote(num_cpus=2)(lambda x: x)
    f.remote(1)
    again = pickle.loads(cloudpickle.dumps(f))
    assert isinstance(again, haz.RemoteFunction)
    assert again is not f
    assert again._options == f._options
    assert again._descriptor.uid == f._descriptor.uid
    assert again.__wrapped__(5) == 5
    assert "remote" not in again.__dict__
    again.remote(2)
    assert fake.calls[-1] == ((2,), {})


def test_recursive_function_is_pickled_once():
    namespace = {"haz": haz, "__name__": "notebook"}
    exec("@haz.remote\ndef f(n): return f", namespace)
    again = pickle.loads(cloudpickle.dumps(namespace["f"]))
    assert again.__wrapped__(1) is again


def test_module_level_function_is_pickled_too():
    again = pickle.loads(cloudpickle.dumps(module_level))
    assert again.__wrapped__() == "module level"
    assert again._descriptor.uid == module_level._descriptor.uid


@haz.remote
def module_level():
    return "module level"


# ---- signatures ------------------------------------------------------------------------------


def _signature_cases():
    def none(): ...
    def one(a): ...
    def defaults(a, b=1, c=2): ...
    def star(a, *rest): ...
    def keyword(a, *, k): ...
    def keyword_default(a, *, k=1): ...
    def anything(*args, **kwargs): ...
    def positional(a, b, /, c, d=1, *, e, f=2): ...
    def named(a, **kwargs): ...
    def star_keyword(*rest, k): ...

    return [
        none,
        one,
        defaults,
        star,
        keyword,
        keyword_default,
        anything,
        positional,
        named,
        star_keyword,
    ]


CALLS = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((1, 2, 3, 4), {}),
    ((), {"a": 1}),
    ((1,), {"a": 1}),
    ((1,), {"b": 1}),
    ((1,), {"k": 1}),
    ((), {"k": 1}),
    ((1, 2), {"c": 1, "e": 2}),
    ((1, 2, 3), {"e": 2, "f": 3}),
    ((1,), {"b": 2, "c": 3, "e": 4}),
    ((1, 2, 3), {"d": 1, "e": 2}),
    ((1, 2), {"e": 2}),
    ((1,), {"zz": 1}),
]


@pytest.mark.parametrize("function", _signature_cases(), ids=lambda f: f.__name__)
@pytest.mark.parametrize(("args", "kwargs"), CALLS, ids=str)
def test_check_agrees_with_python(function, args, kwargs):
    try:
        function(*args, **kwargs)
        fits = True
    except TypeError:
        fits = False
    descriptor = haz.remote(function)._descriptor
    if fits:
        descriptor.check_call(args, kwargs)
    else:
        with pytest.raises(TypeError, match=function.__name__):
            descriptor.check_call(args, kwargs)
    # The quick check of engines never lets a wrong call through, and never asks without need.
    quick = not kwargs and (
        descriptor.min_args <= len(args)
        and (len(args) <= descriptor.max_args or descriptor.max_args == -1)
    )
    if not kwargs:
        assert quick == fits


def test_check_of_what_is_not_a_function():
    for target in (len, functools.partial(plain, 1), "a".join):
        descriptor = haz.remote(target)._descriptor
        assert (descriptor.min_args, descriptor.max_args) == (0, -1)
        descriptor.check_call((1, 2, 3), {})  # not known before the call
    assert haz.remote(functools.partial(plain, 1))._descriptor.name == "plain"


def test_method_decorator():
    @haz.method(num_returns=2)
    def f():
        pass

    assert f.__haz_method_options__ == {"num_returns": 2}
    with pytest.raises(TypeError, match="did you mean 'num_returns'"):
        haz.method(num_return=2)
    with pytest.raises(TypeError, match="keywords"):
        haz.method(1)
