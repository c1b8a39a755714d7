"""Actors: how they are made, called, passed around."""

from __future__ import annotations

import abc
import copy
import dataclasses
import os
import pickle
import threading
from typing import Generic, TypeVar

import haz
import pytest
from haz import exceptions
from haz.actor import ActorClass, ActorHandle, ActorMethod

T = TypeVar("T")


@haz.remote
class Counter:
    """Counts."""

    LIMIT = 7

    def __init__(self, start=0, *, step=1):
        self.value = start
        self.step = step

    def add(self, number=None):
        self.value += self.step if number is None else number
        return self.value

    def get(self):
        return self.value

    def fail(self, error):
        raise error

    def pid(self):
        return os.getpid()


@haz.remote
class Echo:
    def echo(self, *args, **kwargs):
        return args, kwargs

    def one(self, x):
        return x

    def same(self, x, y):
        return x is y


@haz.remote
def add_to(counter, number):
    return haz.get(counter.add.remote(number))


@haz.remote
def identity(x):
    return x


class Named(abc.ABC):
    @abc.abstractmethod
    def name(self): ...

    def shown(self):
        return f"<{self.name()}>"


@haz.remote
class Abstract(Named):
    """What ordinary classes are not: it has a metaclass."""

    def name(self):
        return "abstract"

    def shown(self):
        return super().shown() + Abstract.__name__


@haz.remote
@dataclasses.dataclass
class Data(Named):
    text: str = "data"

    def name(self):
        return self.text

    def shown(self):
        return super().shown()


# ---- making ------------------------------------------------------------------------------------


def test_state_stays_between_calls(engine):
    counter = Counter.remote()
    assert haz.get([counter.add.remote() for _ in range(5)]) == [1, 2, 3, 4, 5]
    assert haz.get(counter.get.remote()) == 5


@pytest.mark.parametrize(
    ("args", "kwargs", "value"),
    [((), {}, 1), ((10,), {}, 11), ((), {"start": 5}, 6), ((1,), {"step": 4}, 5)],
)
def test_arguments_of_the_constructor(engine, args, kwargs, value):
    assert haz.get(Counter.remote(*args, **kwargs).add.remote()) == value


def test_refs_as_arguments_of_the_constructor(engine):
    counter = Counter.remote(haz.put(5), step=identity.remote(2))
    assert haz.get(counter.add.remote()) == 7


def test_actors_do_not_share(engine):
    counters = [Counter.remote(i) for i in range(3)]
    haz.get([counter.add.remote() for counter in counters])
    assert haz.get([counter.get.remote() for counter in counters]) == [1, 2, 3]
    assert len(set(counters)) == 3


def test_class_without_a_constructor(engine):
    @haz.remote
    class Plain:
        def hello(self):
            return "hello"

    assert haz.get(Plain.remote().hello.remote()) == "hello"
    with pytest.raises(TypeError, match=r"Plain\.__init__\(\).*too many"):
        Plain.remote(1)


def test_class_without_methods(engine):
    @haz.remote
    class Empty:
        pass

    assert haz.get(Empty.remote().__ray_ready__.remote()) is True


def test_local_class_with_a_closure(engine):
    base = [1, 2]

    @haz.remote
    class Local:
        def all(self, x):
            return [*base, x]

    assert haz.get(Local.remote().all.remote(3)) == [1, 2, 3]


def test_class_of_a_module_of_the_library(engine):
    import textwrap

    wrapper = haz.remote(textwrap.TextWrapper).remote(width=5)
    assert haz.get(wrapper.wrap.remote("aaa bbb")) == ["aaa", "bbb"]


def test_subclass_of_a_builtin(engine):
    @haz.remote
    class Table(dict):
        def total(self):
            return sum(self.values())

    table = Table.remote(a=1)
    haz.get(table.update.remote({"b": 2}))
    assert haz.get(table.total.remote()) == 3
    assert haz.get(table.get.remote("b")) == 2
    assert haz.get(table.__getitem__.remote("a")) == 1


def test_dataclass(engine):
    @haz.remote
    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 2

        def total(self):
            return self.x + self.y

    assert haz.get(Point.remote(1).total.remote()) == 3
    assert haz.get(Point.remote(x=5, y=0).total.remote()) == 5
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        Point.remote()


def test_constructor_in_new(engine):
    @haz.remote
    class Made:
        def __new__(cls, x):
            made = super().__new__(cls)
            made.x = x
            return made

        def get(self):
            return self.x

    assert haz.get(Made.remote(4).get.remote()) == 4
    with pytest.raises(TypeError, match="'x'"):
        Made.remote()


def test_classes_of_a_module_with_super(engine):
    assert haz.get(Abstract.remote().shown.remote()) == "<abstract>Abstract"
    assert haz.get(Data.remote().shown.remote()) == "<data>"


def test_slots(engine):
    @haz.remote
    class Slotted:
        __slots__ = ("x",)

        def __init__(self):
            self.x = 1

        def get(self):
            return self.x

    assert haz.get(Slotted.remote().get.remote()) == 1


def test_generic_class(engine):
    @haz.remote
    class Box(Generic[T]):
        def __init__(self, item: T) -> None:
            self.item = item

        def get(self) -> T:
            return self.item

    assert haz.get(Box.remote("x").get.remote()) == "x"


def test_abstract_class(engine):
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self): ...

        def twice(self):
            return 2 * self.area()

    @haz.remote
    class Square(Shape):
        def area(self):
            return 9

    assert haz.get(Square.remote().twice.remote()) == 18
    broken = haz.remote(Shape).remote()
    with pytest.raises(exceptions.ActorDiedError) as caught:
        haz.get(broken.twice.remote())
    assert isinstance(caught.value.__cause__, TypeError)


def test_redefinition_takes_effect(engine):
    found = []
    for version in (1, 2):
        namespace = {"__name__": "notebook"}
        source = f"class Cell:\n    def get(self):\n        return {version}\n"
        exec(f"import haz\n@haz.remote\n{source}", namespace)
        found.append(haz.get(namespace["Cell"].remote().get.remote()))
    assert found == [1, 2]


def test_actor_class_in_a_task(engine):
    @haz.remote
    def make(cls, start):
        return haz.get(cls.remote(start).add.remote())

    assert haz.get(make.remote(Counter, 4)) == 5
    assert haz.get(make.remote(Counter.options(num_cpus=0), 4)) == 5


def test_actor_class_in_a_closure(engine):
    @haz.remote
    def make():
        return Counter.LIMIT, haz.get(Counter.remote(1).get.remote())

    assert haz.get(make.remote()) == (7, 1)


def test_actor_that_makes_actors_of_its_class(engine):
    @haz.remote
    class Node:
        def __init__(self, depth):
            self.child = Node.remote(depth - 1) if depth else None

        def depth(self):
            return 1 + haz.get(self.child.depth.remote()) if self.child else 1

    assert haz.get(Node.remote(2).depth.remote()) == 3


def test_super(engine):
    class Base:
        def __init__(self, x):
            self.x = x

        def get(self):
            return self.x

        def untouched(self):
            return "base"

    @haz.remote
    class Derived(Base):
        def __init__(self, x):
            super().__init__(x + 1)

        def get(self):
            return 10 * super().get()

    actor = Derived.remote(1)
    assert haz.get([actor.get.remote(), actor.untouched.remote()]) == [20, "base"]


def test_options_of_the_class(engine):
    counter = Counter.options(num_cpus=1, resources={"crane": 1}, max_restarts=1).remote(3)
    assert haz.get(counter.get.remote()) == 3
    assert haz.available_resources().get("crane", 0) == 1
    assert isinstance(Counter.options(), ActorClass)


def test_resources_are_held_while_it_lives(engine):
    from haz.testing import wait_until

    counter = Counter.options(num_cpus=2, resources={"crane": 0.5}).remote()
    haz.get(counter.get.remote())
    left = haz.available_resources()
    assert left.get("CPU", 0) == 0
    assert left["crane"] == 1.5
    del counter
    wait_until(lambda: haz.available_resources().get("CPU", 0) == 2)


def test_no_cpu_is_held_by_default(engine):
    counters = [Counter.remote() for _ in range(4)]
    haz.get([counter.get.remote() for counter in counters])
    assert haz.available_resources()["CPU"] == 2


@pytest.mark.parametrize("options", [{"num_cpus": 3}, {"num_gpus": 1}, {"resources": {"ship": 1}}])
def test_infeasible_resources(engine, options):
    with pytest.raises(exceptions.InfeasibleResourcesError, match=r"Counter.*asks for"):
        Counter.options(**options).remote()


def test_env_vars(engine):
    @haz.remote(runtime_env={"env_vars": {"HAZ_TEST_ACTOR": "in init"}})
    class Env:
        def __init__(self):
            self.seen = os.environ.get("HAZ_TEST_ACTOR")

        def get(self):
            return self.seen, os.environ.get("HAZ_TEST_ACTOR")

    assert haz.get(Env.remote().get.remote()) == ("in init", "in init")
    assert "HAZ_TEST_ACTOR" not in os.environ


def test_what_can_not_be_pickled(engine):
    lock = threading.Lock()

    @haz.remote
    class Holds:
        def get(self):
            return lock

    with pytest.raises(TypeError, match="lock"):
        Holds.remote()
    with pytest.raises(TypeError, match="lock"):
        Counter.remote(threading.Lock())
    echo = Echo.remote()
    with pytest.raises(TypeError, match="lock"):
        echo.one.remote(threading.Lock())
    with pytest.raises(TypeError, match="lock"):
        haz.get(echo.__ray_call__.remote(lambda self: threading.Lock()))
    assert haz.get(echo.one.remote(1)) == 1


# ---- calling -----------------------------------------------------------------------------------


def test_arguments_and_results(engine):
    echo = Echo.remote()
    assert haz.get(echo.echo.remote()) == ((), {})
    assert haz.get(echo.echo.remote(1, "a", x=[2], y=None)) == ((1, "a"), {"x": [2], "y": None})
    assert haz.get(echo.one.remote(x={"k": (1, 2)})) == {"k": (1, 2)}
    assert haz.get(echo.one.remote(None)) is None


def test_refs_as_arguments(engine):
    counter, echo = Counter.remote(), Echo.remote()
    ref = counter.add.remote(5)
    assert haz.get(echo.echo.remote(ref, x=haz.put(2))) == ((5,), {"x": 2})
    assert haz.get(counter.add.remote(counter.add.remote(1))) == 12
    assert haz.get(identity.remote(counter.get.remote())) == 12
    (inner,) = haz.get(echo.one.remote([ref]))
    assert haz.get(inner) == 5


def test_arguments_are_copies(engine):
    mine = [1]
    echo = Echo.remote()
    theirs = haz.get(echo.one.remote(mine))
    theirs.append(2)
    assert mine == [1]
    assert haz.get(echo.same.remote(mine, mine)) is False


def test_state_is_not_shared_with_results(engine):
    @haz.remote
    class Keeper:
        def __init__(self):
            self.items = []

        def add(self, item):
            self.items.append(item)
            return self.items

    keeper = Keeper.remote()
    haz.get(keeper.add.remote(1)).append("mine")
    assert haz.get(keeper.add.remote(2)) == [1, 2]


def test_arrays(engine):
    numpy = pytest.importorskip("numpy")

    @haz.remote
    class Model:
        def __init__(self, weights):
            self.weights = weights.copy()

        def step(self, gradient):
            assert not gradient.flags.writeable
            self.weights -= gradient
            return self.weights

    model = Model.remote(haz.put(numpy.ones(300_000)))
    for _ in range(3):
        model.step.remote(numpy.full(300_000, 0.25))
    result = haz.get(model.step.remote(numpy.zeros(300_000)))
    assert result.shape == (300_000,)
    assert result[0] == 0.25


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_num_returns(engine, count):
    @haz.remote
    class Splits:
        @haz.method(num_returns=2)
        def two(self):
            return 1, 2

        def range(self, n):
            return list(range(n))

    splits = Splits.remote()
    first, second = splits.two.remote()
    assert haz.get([second, first]) == [2, 1]
    refs = splits.range.options(num_returns=count).remote(count)
    if count == 0:
        assert refs is None
    elif count == 1:
        assert haz.get(refs) == [0]
    else:
        assert haz.get(refs) == list(range(count))


def test_wrong_number_of_returns(engine):
    refs = Counter.remote().get.options(num_returns=2).remote()
    for ref in refs:
        with pytest.raises(TypeError, match="num_returns=2"):
            haz.get(ref)


def test_kinds_of_methods(engine):
    class Base:
        def inherited(self):
            return "inherited"

        def overridden(self):
            return "base"

        @staticmethod
        def static(x):
            return x + 1

        @classmethod
        def name_of_class(cls):
            return cls.__name__

    @haz.remote
    class Kinds(Base):
        CONSTANT = 3

        def overridden(self):
            return "derived"

        @property
        def shown(self):
            return "property"

        def shown_by_method(self):
            return self.shown, self.CONSTANT

        def _private(self):
            return "private"

        def __mangled(self):
            return "mangled"

        def __call__(self, x):
            return x * 2

        def __getitem__(self, key):
            return key

        def __len__(self):
            return 4

    kinds = Kinds.remote()
    calls = [
        kinds.inherited.remote(),
        kinds.overridden.remote(),
        kinds.static.remote(1),
        kinds.name_of_class.remote(),
        kinds.shown_by_method.remote(),
        kinds._private.remote(),
        kinds._Kinds__mangled.remote(),
        kinds.__call__.remote(4),
        kinds.__getitem__.remote("k"),
        kinds.__len__.remote(),
    ]
    assert haz.get(calls) == [
        *("inherited", "derived", 2, "Kinds", ("property", 3)),
        *("private", "mangled", 8, "k", 4),
    ]


def test_wrapped_methods(engine):
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return 2 * function(*args, **kwargs)

        return wrapper

    @haz.remote
    class Wrapped:
        @twice
        def get(self, x):
            return x

        partial = functools.partialmethod(lambda self, x, y: (x, y), 1)

        @functools.cache
        def cached(self, x):
            return x + 1

    wrapped = Wrapped.remote()
    refs = [wrapped.get.remote(2), wrapped.partial.remote(2), wrapped.cached.remote(2)]
    assert haz.get(refs) == [4, (1, 2), 3]


def test_calls_run_in_order(engine):
    @haz.remote
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, x):
            self.seen.append(x)

        def all(self):
            return self.seen

    log = Log.remote()
    for i in range(500):
        log.add.remote(i)
    assert haz.get(log.all.remote()) == list(range(500))


def test_call_that_waits_for_an_argument_keeps_its_place(engine):
    counter, log = Counter.remote(), Echo.remote()
    slow = counter.add.remote(identity.remote(1))
    fast = counter.add.remote(1)
    assert haz.get([slow, fast]) == [1, 2]
    assert haz.get(log.one.remote(slow)) == 1


def test_options_of_a_call(engine):
    @haz.remote
    class Named:
        def name(self):
            return haz.get_runtime_context().get_task_name()

    named = Named.remote()
    assert haz.get(named.name.remote()) == "Named.name"
    assert haz.get(named.name.options(name="renamed", priority=1).remote()) == "renamed"
    assert haz.get(named.name.options(name="a").options(num_returns=1).remote()) == "a"


def test_a_method_can_be_kept(engine):
    method = Counter.remote().add
    assert isinstance(method, ActorMethod)
    assert haz.get([method.remote(), method.remote()]) == [1, 2]


def test_method_as_an_argument(engine):
    counter = Counter.remote()

    @haz.remote
    def call(method, x):
        return haz.get(method.remote(x))

    assert haz.get(call.remote(counter.add, 3)) == 3
    assert haz.get(call.remote(counter.add.options(name="n"), 3)) == 6


def test_remote_of_a_method_as_an_argument(engine):
    counter = Counter.remote()

    @haz.remote
    def call(submit, x):
        return haz.get(submit(x))

    assert haz.get(call.remote(counter.add.remote, 3)) == 3
    assert haz.get(counter.add.remote(1)) == 4  # from here on it is another object
    assert haz.get(call.remote(counter.add.remote, 3)) == 7


def test_result_of_a_temporary_handle(engine):
    assert haz.get(Counter.remote(1).add.remote()) == 2


def test_many_calls(engine):
    counter = Counter.remote()
    refs = [counter.add.remote() for _ in range(2000)]
    assert haz.get(refs) == list(range(1, 2001))


def test_wait(engine):
    counter = Counter.remote()
    refs = [counter.add.remote() for _ in range(4)]
    ready, rest = haz.wait(refs, num_returns=4)
    assert (ready, rest) == (refs, [])


def test_call_of_a_function_with_the_actor(engine):
    counter = Counter.remote(5)

    def double(self, times=2):
        self.value *= times
        return self.value

    assert haz.get(counter.__ray_call__.remote(double)) == 10
    assert haz.get(counter.__haz_call__.remote(double, times=3)) == 30
    assert haz.get(counter.get.remote()) == 30
    with pytest.raises(TypeError, match="'fn'"):
        counter.__ray_call__.remote()


def test_ready(engine):
    counter = Counter.remote()
    assert haz.get([counter.__ray_ready__.remote(), counter.__haz_ready__.remote()]) == [True, True]


def test_call_from_threads(engine):
    counter = Counter.remote()
    seen = []

    def call():
        seen.extend(haz.get([counter.add.remote() for _ in range(50)]))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(1, 201))


def test_calls_in_and_out(engine):
    @haz.remote
    class Front:
        def __init__(self, back):
            self.back = back

        def add(self, x):
            return 100 + haz.get(self.back.add.remote(haz.get(identity.remote(x))))

    assert haz.get(Front.remote(Counter.remote()).add.remote(2)) == 102


# ---- wrong calls -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: c.add.remote(1, 2), r"Counter\.add\(\): too many positional arguments"),
        (lambda c: c.add.remote(x=1), r"Counter\.add\(\): got an unexpected keyword argument 'x'"),
        (lambda c: c.add.remote(1, number=1), "multiple values for argument 'number'"),
        (lambda c: c.fail.remote(), r"Counter\.fail\(\): missing a required argument: 'error'"),
        (lambda c: c.__ray_ready__.remote(1), "too many"),
        (lambda c: c.add(1), r"handle\.add\.remote\(\.\.\.\)"),
        (lambda c: Counter.remote(1, 2), r"Counter\.__init__\(\): too many"),
        (lambda c: Counter.remote(steps=1), "unexpected keyword argument 'steps'"),
        (lambda c: Counter(), r"Counter\.remote\(\.\.\.\)"),
        (lambda c: haz.get(c), r"calls of an actor give refs: handle\.method\.remote"),
        (lambda c: haz.get([c]), r"calls of an actor give refs"),
        (lambda c: haz.get(c.add), r"calls of an actor give refs"),
        (lambda c: haz.wait([c]), r"calls of an actor give refs"),
        (lambda c: haz.wait(c), r"calls of an actor give refs"),
        (lambda c: haz.cancel(c), r"haz\.kill"),
    ],
)
def test_wrong_use(engine, call, words):
    counter = Counter.remote()
    with pytest.raises(TypeError, match=words):
        call(counter)
    assert haz.get(counter.add.remote()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ad", r"class Counter has no method 'ad'; did you mean 'add'"),
        ("qqqqq", r"has no method 'qqqqq'$"),
        ("value", r"has no method 'value'"),
        ("LIMIT", r"Counter\.LIMIT is not a method"),
        ("__nothing__", "no method '__nothing__'"),
    ],
)
def test_unknown_method(engine, name, words):
    counter = Counter.remote()
    assert not hasattr(counter, name)
    with pytest.raises(AttributeError, match=words):
        getattr(counter, name)


def test_property_is_no_method(engine):
    @haz.remote
    class Has:
        @property
        def shown(self):
            return 1

    has = Has.remote()
    with pytest.raises(AttributeError, match=r"Has\.shown is not a method.*__ray_call__"):
        has.shown
    assert haz.get(has.__ray_call__.remote(lambda self: self.shown)) == 1


def test_exceptions_of_methods(engine):
    counter = Counter.remote()
    counter.add.remote()
    with pytest.raises(KeyError) as caught:
        haz.get(counter.fail.remote(KeyError("colour")))
    error = caught.value
    assert isinstance(error, exceptions.TaskError)
    assert error.task_name == "Counter.fail"
    assert "raise error" in str(error)
    assert type(error.cause) is KeyError
    # The actor goes on, with its state.
    assert haz.get(counter.add.remote()) == 2


def test_failed_argument(engine):
    counter = Counter.remote()
    failed = counter.fail.remote(ValueError("bad"))
    with pytest.raises(ValueError) as caught:
        haz.get(counter.add.remote(failed))
    assert caught.value.through == ("Counter.add",)
    assert haz.get(counter.add.remote()) == 1


def test_retry_exceptions(engine, tally):
    @haz.remote
    class Flaky:
        @haz.method(max_task_retries=3, retry_exceptions=[ConnectionError])
        def fetch(self, tries):
            if tally.add() < tries:
                raise ConnectionError("again")
            return tally.count()

        def plain(self):
            tally.add()
            raise ConnectionError("no retry")

    flaky = Flaky.remote()
    assert haz.get(flaky.fetch.remote(3)) == 3
    with pytest.raises(ConnectionError):
        haz.get(flaky.plain.remote())
    assert tally.count() == 4
    with pytest.raises(ConnectionError):
        haz.get(flaky.plain.options(max_task_retries=2, retry_exceptions=True).remote())
    assert tally.count() == 7
    with pytest.raises(ConnectionError):
        haz.get(flaky.plain.options(max_task_retries=2, retry_exceptions=[OSError]).remote())
    assert tally.count() == 10
    with pytest.raises(ConnectionError):
        haz.get(flaky.plain.options(max_task_retries=2, retry_exceptions=[KeyError]).remote())
    assert tally.count() == 11


def test_retries_of_the_class(engine, tally):
    @haz.remote(max_task_retries=-1)
    class Flaky:
        @haz.method(retry_exceptions=True)
        def fetch(self):
            if tally.add() < 5:
                raise OSError("again")
            return "at last"

    assert haz.get(Flaky.remote().fetch.remote()) == "at last"
    assert tally.count() == 5
    with pytest.raises(OSError):
        haz.get(Flaky.options(max_task_retries=0).remote().__ray_call__.remote(_fail))


def _fail(_self):
    raise OSError("once")


def test_timeout(engine):
    import time

    @haz.remote
    class Slow:
        def __init__(self):
            self.made = os.urandom(8)

        def sleep(self, seconds):
            time.sleep(seconds)
            return self.made

    slow = Slow.remote()
    made = haz.get(slow.sleep.remote(0))
    with pytest.raises(exceptions.TaskTimeoutError, match=r"Slow\.sleep"):
        haz.get(slow.sleep.options(timeout_s=0.1).remote(60))
    assert haz.get(slow.sleep.options(timeout_s=60).remote(0)) == made


def test_generator_methods(engine):
    @haz.remote
    class Makes:
        def items(self):
            yield from (1, 2)

        def total(self):
            return sum(self.items())

    makes = Makes.remote()
    assert haz.get(makes.total.remote()) == 3
    assert haz.get(makes.items.options(num_returns=2).remote()) == [1, 2]
    assert haz.get(list(makes.items.remote())) == [1, 2]


def test_cancel_with_force(engine):
    counter = Counter.remote()
    ref = counter.add.remote()
    haz.get(ref)
    with pytest.raises(ValueError, match=r"haz\.kill"):
        haz.cancel(ref, force=True)
    haz.cancel(ref)
    assert haz.get(ref) == 1
    assert haz.get(counter.add.remote()) == 2


# ---- handles -----------------------------------------------------------------------------------


def test_handle_as_an_argument(engine):
    counter = Counter.remote()
    assert haz.get([add_to.remote(counter, 1), add_to.remote(counter, 1)]) in ([1, 2], [2, 1])
    assert haz.get(counter.get.remote()) == 2


def test_handle_in_a_container_and_in_an_object(engine):
    counter = Counter.remote()

    @haz.remote
    def add_all(handles):
        return haz.get([handle.add.remote() for handle in handles["all"]])

    assert haz.get(add_all.remote({"all": [counter, counter]})) == [1, 2]
    ref = haz.put([counter])
    assert haz.get(add_all.remote({"all": haz.get(ref)})) == [3]
    (again,) = haz.get(ref)
    assert again == counter
    assert haz.get(again.add.remote()) == 4


def test_handle_in_a_closure(engine):
    counter = Counter.remote()

    @haz.remote
    def bump():
        return haz.get(counter.add.remote())

    assert sorted(haz.get([bump.remote(), bump.remote()])) == [1, 2]


def test_handle_as_a_result(engine):
    @haz.remote
    def make(start):
        return Counter.remote(start)

    counter = haz.get(make.remote(5))
    assert isinstance(counter, ActorHandle)
    assert haz.get(counter.add.remote()) == 6


def test_handle_passed_to_actors(engine):
    counter = Counter.remote()

    @haz.remote
    class User:
        def __init__(self, counter):
            self.counter = counter

        def use(self):
            return haz.get(self.counter.add.remote())

        def give(self):
            return self.counter

    users = [User.remote(counter) for _ in range(3)]
    assert sorted(haz.get([user.use.remote() for user in users])) == [1, 2, 3]
    assert haz.get(users[0].give.remote()) == counter


def test_an_object_keeps_the_actor(engine):
    ref = haz.put({"counter": Counter.remote(3)})
    assert haz.get(haz.get(ref)["counter"].get.remote()) == 3


def test_identity_of_handles(engine):
    first, second = Counter.remote(), Counter.remote()
    same = haz.get(haz.put(first))
    assert same is not first
    assert same == first
    assert hash(same) == hash(first)
    assert first != second
    assert first != 1
    assert len({first, same, second}) == 2
    assert copy.copy(first) is first
    assert copy.deepcopy([first])[0] is first
    assert first._actor_id.hex() == first._actor_id == first._ray_actor_id
    assert first._actor_id.binary().hex() == first._actor_id
    assert repr(first) == f"Actor(Counter, {first._actor_id})"
    assert {"add", "get", "fail"} <= set(dir(first))
    assert not callable(first)
    with pytest.raises(TypeError):
        iter(first)


def test_pickle_by_hand(engine):
    counter = Counter.remote(1)
    with pytest.warns(RuntimeWarning, match="pickled outside of haz"):
        data = pickle.dumps(counter)
    assert haz.get(pickle.loads(data).add.remote()) == 2


def test_names_of_the_class():
    assert Counter.__name__ == "Counter"
    assert Counter.__doc__ == "Counts."
    assert Counter.__module__ == __name__
    assert Counter.LIMIT == 7
    assert Counter.__wrapped__(3).get() == 3
    assert Counter.__ray_actor_class__ is Counter.__wrapped__
    assert repr(Counter) == f"<ActorClass {__name__}.Counter>"
    assert isinstance(Counter, ActorClass)
    import inspect

    assert str(inspect.signature(Counter)) == "(start=0, *, step=1)"
    with pytest.raises(AttributeError):
        Counter.nothing


def test_deriving_from_an_actor_class():
    with pytest.raises(TypeError, match=r"Counter is an actor class.*derive from the plain class"):

        class Derived(Counter):
            pass

    @haz.remote
    class Allowed(Counter.__wrapped__):
        pass

    assert isinstance(Allowed, ActorClass)


def test_remote_twice():
    with pytest.raises(TypeError, match="remote already"):
        haz.remote(Counter)


def test_method_needs_keywords():
    with pytest.raises(TypeError, match="keywords only"):
        haz.method(1)
    with pytest.raises(TypeError, match="did you mean 'num_returns'"):
        haz.method(num_return=2)
    with pytest.raises(TypeError, match="retry_exceptions"):
        haz.method(retry_exceptions=ValueError)


def test_there_are_no_graphs_of_calls(engine):
    counter = Counter.remote()
    for bind in (Counter.bind, counter.add.bind, add_to.bind):
        with pytest.raises(NotImplementedError, match=r"\.remote\(\.\.\.\)"):
            bind(1)


# ---- the actor about itself --------------------------------------------------------------------


@haz.remote
class Introspective:
    def __init__(self):
        self.from_constructor = haz.get_runtime_context().current_actor

    def handles(self):
        return self.from_constructor, haz.get_runtime_context().current_actor

    def facts(self):
        context = haz.get_runtime_context()
        return {
            "actor_id": context.get_actor_id(),
            "actor_name": context.get_actor_name(),
            "restarted": context.was_current_actor_reconstructed,
            "task_name": context.get_task_name(),
            "function": context.get_task_function_name(),
            "attempt": context.get_attempt_number(),
            "resources": context.get_assigned_resources(),
            "namespace": context.namespace,
        }

    def in_a_task(self):
        return haz.get(haz.remote(_actor_facts).remote())

    def hand_out(self):
        return haz.get(add_to.remote(Counter.remote(), 1)), haz.get_runtime_context().current_actor


def _actor_facts():
    context = haz.get_runtime_context()
    try:
        found = context.current_actor
    except RuntimeError:
        found = None
    return context.get_actor_id(), found


def test_current_actor(engine):
    actor = Introspective.remote()
    assert haz.get(actor.handles.remote()) == (actor, actor)
    number, again = haz.get(actor.hand_out.remote())
    assert number == 1
    assert haz.get(again.handles.remote())[0] == actor


def test_facts_about_the_actor(engine):
    actor = Introspective.options(name="known", resources={"crane": 0.5}).remote()
    facts = haz.get(actor.facts.remote())
    assert facts == {
        "actor_id": actor._actor_id.hex(),
        "actor_name": "known",
        "restarted": False,
        "task_name": "Introspective.facts",
        "function": "Introspective.facts",
        "attempt": 0,
        "resources": {"crane": 0.5},
        "namespace": haz.get_runtime_context().namespace,
    }


def test_facts_elsewhere(engine):
    assert _actor_facts() == (None, None)
    assert haz.get(Introspective.remote().in_a_task.remote()) == (None, None)
    with pytest.raises(RuntimeError, match="methods of actors"):
        haz.get_runtime_context().current_actor
    with pytest.raises(TypeError, match="no method of one"):
        haz.actor.exit_actor()
