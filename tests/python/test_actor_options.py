"""Options of actors and methods: checked where they are given, merged, handed to the engine."""

from __future__ import annotations

import sys

import haz
import pytest
from haz._core.runtime import runtime
from haz.actor import ActorMethod
from haz.engines.base import ActorOptions, MethodOptions


class FakeRef:
    def hex(self):
        return "f" * 32


class FakeEngine:
    """Records what it is asked."""

    name = "fake"

    def __init__(self):
        self.created = []
        self.bound = []
        self.calls = []

    def create_actor(self, cls, options, descriptor, meta, args, kwargs):
        self.created.append((cls, options, descriptor, args, kwargs))
        return FakeRef(), meta

    def bind_method(self, actor, method, options, descriptor, again, is_limited):
        self.bound.append((method, options, descriptor))

        def submit(*args, **kwargs):
            self.calls.append((method, args, kwargs))

        return submit

    def shutdown(self):
        pass


@pytest.fixture
def fake():
    haz.shutdown()
    engine = runtime.engine = FakeEngine()
    yield engine
    runtime.stop()


@haz.remote
class Plain:
    def get(self, x=1):
        return x

    @haz.method(num_returns=2, max_task_retries=5, concurrency_group=None)
    def two(self):
        return 1, 2


@haz.remote(max_restarts=1, max_task_retries=2, concurrency_groups={"io": 3})
class Full:
    @haz.method(concurrency_group="io", timeout_s=2, priority=-1)
    def read(self):
        pass

    @haz.method(retry_exceptions=[OSError], max_task_retries=-1)
    def flaky(self):
        pass

    async def later(self):
        pass


def created(fake, actor_class):
    actor_class.remote()
    return fake.created[-1][1]


def test_defaults(fake):
    assert created(fake, Plain) == ActorOptions(
        num_cpus_to_place=1.0,
        num_cpus=0.0,
        num_gpus=0.0,
        resources={},
        name=None,
        namespace=None,
        get_if_exists=False,
        detached=False,
        max_restarts=0,
        max_task_retries=0,
        max_concurrency=None,
        concurrency_groups={},
        max_pending_calls=-1,
        allow_out_of_order=False,
        env_vars={},
        environment=b"",
        is_async=False,
    )


def test_none_is_the_default(fake):
    names = (
        *("num_cpus", "num_gpus", "resources", "name", "namespace", "get_if_exists", "lifetime"),
        *("max_restarts", "max_task_retries", "max_concurrency", "concurrency_groups"),
        *("max_pending_calls", "allow_out_of_order_execution", "runtime_env"),
        *("scheduling_strategy", "memory"),
    )
    assert created(fake, Plain.options(**dict.fromkeys(names))) == ActorOptions()


def test_what_is_given(fake):
    given = Plain.options(
        num_cpus=2,
        num_gpus=0.5,
        resources={"crane": 1},
        name="n",
        namespace="ns",
        get_if_exists=True,
        lifetime="non_detached",
        max_restarts=-1,
        max_task_retries=sys.maxsize,
        max_concurrency=4,
        concurrency_groups={"io": 2},
        max_pending_calls=10,
        runtime_env={"env_vars": {"A": "b"}},
        memory=1e9,
        scheduling_strategy="SPREAD",
    )
    assert created(fake, given) == ActorOptions(
        num_cpus_to_place=2.0,
        num_cpus=2.0,
        num_gpus=0.5,
        memory=1e9,
        resources={"crane": 1.0},
        name="n",
        namespace="ns",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=2**31 - 1,
        max_concurrency=4,
        concurrency_groups={"io": 2},
        max_pending_calls=10,
        allow_out_of_order=True,
        env_vars={"A": "b"},
        environment=b"",
        placement="SPREAD",
    )


def test_options_are_merged(fake):
    variant = Full.options(max_restarts=3).options(name="n")
    options = created(fake, variant)
    assert (options.max_restarts, options.max_task_retries, options.name) == (3, 2, "n")
    assert options.concurrency_groups == {"io": 3}
    assert created(fake, Full).max_restarts == 1


@pytest.mark.parametrize("num_cpus", [0, 0.5, 1])
def test_num_cpus_are_held_and_needed(fake, num_cpus):
    options = created(fake, Plain.options(num_cpus=num_cpus))
    assert (options.num_cpus, options.num_cpus_to_place) == (num_cpus, num_cpus)


def test_async_and_order(fake):
    assert created(fake, Full).is_async
    assert created(fake, Full).allow_out_of_order
    assert created(fake, Full).max_concurrency is None
    assert not created(fake, Plain.options(max_concurrency=1)).allow_out_of_order
    assert created(fake, Plain.options(allow_out_of_order_execution=True)).allow_out_of_order
    assert created(fake, Plain.options(max_concurrency=2)).allow_out_of_order
    with pytest.raises(ValueError, match="max_concurrency above 1"):
        Plain.options(max_concurrency=2, allow_out_of_order_execution=False)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"num_cpu": 1}, TypeError, "did you mean 'num_cpus'"),
        ({"max_restart": 1}, TypeError, "did you mean 'max_restarts'"),
        ({"num_cpus": "1"}, TypeError, "num_cpus must be a number"),
        ({"num_cpus": -1}, ValueError, "0 or more"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus="),
        ({"name": 1}, TypeError, "name must be a string"),
        ({"name": ""}, ValueError, "empty"),
        ({"name": "\ud800"}, ValueError, "half a character"),
        ({"namespace": ""}, ValueError, "empty"),
        ({"namespace": 3}, TypeError, "string"),
        ({"get_if_exists": True}, ValueError, "needs a name"),
        ({"get_if_exists": "yes"}, TypeError, "True or False"),
        ({"lifetime": "forever"}, ValueError, "non_detached"),
        ({"max_restarts": -2}, ValueError, "-1: without end"),
        ({"max_restarts": 1.5}, TypeError, "integer"),
        ({"max_task_retries": -2}, ValueError, "max_task_retries"),
        ({"max_concurrency": 0}, ValueError, "1 or more"),
        ({"max_concurrency": None, "concurrency_groups": ["io"]}, TypeError, "dictionary"),
        ({"concurrency_groups": {"io": 0}}, ValueError, r"concurrency_groups\['io'\]"),
        ({"concurrency_groups": {1: 1}}, TypeError, "names"),
        ({"max_pending_calls": 0}, ValueError, "no call at all"),
        ({"max_pending_calls": -2}, ValueError, "-1: no limit"),
        ({"allow_out_of_order_execution": 2}, TypeError, "True or False"),
        ({"num_returns": 2}, TypeError, r"@haz\.method\(num_returns"),
        ({"max_retries": 2}, TypeError, "max_restarts, and max_task_retries"),
        ({"retry_exceptions": True}, TypeError, r"@haz\.method\(retry_exceptions"),
        ({"timeout_s": 2}, TypeError, r"@haz\.method\(timeout_s"),
        ({"priority": 2}, TypeError, r"@haz\.method\(priority"),
        ({"max_calls": 2}, TypeError, "keeps its process"),
        ({"runtime_env": "x"}, TypeError, "runtime_env"),
    ],
)
def test_what_is_wrong(given, error, words):
    with pytest.raises(error, match=words):
        Plain.options(**given)
    with pytest.raises(error, match=words):
        haz.remote(**given)(Plain.__wrapped__)


def test_options_of_tasks_and_actors_name_each_other():
    with pytest.raises(TypeError, match="option of actors"):
        haz.remote(max_restarts=1)(len)


# ---- methods -----------------------------------------------------------------------------------


def options_of(fake, method):
    method.remote()
    return fake.bound[-1][1]


def test_options_of_methods(fake):
    full, plain = Full.remote(), Plain.remote()
    assert options_of(fake, plain.get) == MethodOptions()
    assert options_of(fake, plain.two) == MethodOptions(num_returns=2, max_task_retries=5)
    assert options_of(fake, full.later) == MethodOptions(max_task_retries=2)
    assert options_of(fake, full.read) == MethodOptions(
        max_task_retries=2, concurrency_group="io", timeout_s=2.0, priority=-1
    )
    assert options_of(fake, full.flaky) == MethodOptions(
        max_task_retries=-1, retry_exceptions=(OSError,)
    )
    variant = full.read.options(
        name="n",
        num_returns=0,
        max_task_retries=0,
        retry_exceptions=True,
        timeout_s=1,
        priority=9,
        enable_task_events=False,
    )
    assert options_of(fake, variant) == MethodOptions(
        name="n",
        num_returns=0,
        max_task_retries=0,
        retry_exceptions=True,
        timeout_s=1.0,
        priority=9,
        concurrency_group="io",
    )


def test_retries_of_a_variant_reach_the_methods(fake):
    variant = Plain.options(max_task_retries=7).remote()
    assert options_of(fake, variant.get).max_task_retries == 7
    assert options_of(fake, Plain.remote().get).max_task_retries == 0


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"num_return": 2}, TypeError, "did you mean 'num_returns'"),
        ({"num_returns": -1}, ValueError, "0 or more"),
        ({"num_returns": "flowing"}, ValueError, "streaming"),
        ({"num_cpus": 1}, TypeError, "give it to the class"),
        ({"max_retries": 1}, TypeError, "max_task_retries"),
        ({"max_task_retries": "1"}, TypeError, "integer"),
        ({"retry_exceptions": ValueError}, TypeError, "list of types"),
        ({"timeout_s": 0}, ValueError, "more than 0"),
        ({"priority": 1.5}, TypeError, "integer"),
        ({"priority": 2**31}, ValueError, "at most"),
        ({"concurrency_group": 1}, TypeError, "string"),
    ],
)
def test_what_is_wrong_with_methods(fake, given, error, words):
    with pytest.raises(error, match=words):
        Full.remote().read.options(**given)
    with pytest.raises(error, match=words):
        haz.method(**given)


def test_unknown_concurrency_group(fake):
    with pytest.raises(ValueError, match=r"Full\.read.*no concurrency group 'cpu' \(it has 'io'\)"):
        Full.remote().read.options(concurrency_group="cpu")

    class Wrong:
        @haz.method(concurrency_group="io")
        def read(self):
            pass

    with pytest.raises(ValueError, match=r"Wrong\.read.*no concurrency group 'io' \(it has none\)"):
        haz.remote(Wrong)
    assert haz.remote(concurrency_groups={"io": 1})(Wrong)


def test_priority_of_tasks():
    assert haz.remote(priority=3)(len)._options.priority == 3
    assert haz.remote(len)._options.priority == 0
    with pytest.raises(TypeError, match="integer"):
        haz.remote(len).options(priority="high")


# ---- binding -----------------------------------------------------------------------------------


def test_a_method_binds_once(fake):
    plain = Plain.remote()
    for i in range(5):
        plain.get.remote(i)
    assert [method for method, _, _ in fake.bound] == ["get"]
    assert plain.get is plain.get
    # What is called is the engine's own callable.
    assert plain.get.remote is plain.get.__dict__["remote"]
    assert plain.get.remote.__qualname__.startswith("FakeEngine.bind_method")


def test_options_in_a_loop_bind_once(fake):
    plain = Plain.remote()
    for i in range(5):
        plain.get.options(name="a", num_returns=1).remote(i)
    assert len(fake.bound) == 1
    for _ in range(1000):
        plain.get.options(name=str(_))
    assert len(plain.get._variants) <= 64


def test_special_names_are_rays(fake):
    plain = Plain.remote()
    for name in ("call", "ready", "terminate"):
        arguments = (len,) if name == "call" else ()
        getattr(plain, f"__haz_{name}__").remote(*arguments)
        getattr(plain, f"__ray_{name}__").remote(*arguments)
    assert [method for method, _, _ in fake.bound] == [
        *("__ray_call__", "__ray_call__", "__ray_ready__", "__ray_ready__"),
        *("__ray_terminate__", "__ray_terminate__"),
    ]


def test_descriptors(fake):
    plain = Plain.remote()
    plain.get.remote()
    (_, _, constructor, _, _) = fake.created[0]
    (_, _, method) = fake.bound[0]
    assert (constructor.name, constructor.min_args, constructor.max_args) == (
        *("Plain.__init__", 0, 0),
    )
    assert (method.name, method.min_args, method.max_args) == ("Plain.get", 0, 1)
    assert constructor.uid == method.uid
    assert len(method.uid) == 16
    Plain.options(name="n").remote()
    assert fake.created[1][2] is constructor
    assert haz.remote(Plain.__wrapped__)._info.uid != method.uid


def test_shutdown_unbinds(fake):
    method = Plain.remote().get
    method.remote()
    assert "remote" in method.__dict__
    runtime.stop()
    assert "remote" not in method.__dict__


def test_bound_methods_go_with_their_handles(fake):
    plain = Plain.remote()
    plain.get.remote()
    assert len(runtime._bound) == 1
    del plain
    assert len(runtime._bound) == 0


def test_a_method_is_pickled_with_its_options(fake):
    # As data: pickling refs is the engine's business.
    make, (ref, packed, name, checked) = Plain.remote().get.options(name="n").__reduce__()
    again = make(ref, packed, name, checked)
    assert isinstance(again, ActorMethod)
    assert options_of(fake, again).name == "n"
