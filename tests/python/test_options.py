"""Options of remote functions and arguments of init: checked where they are given."""

from __future__ import annotations

import haz
import pytest
from haz._core import lifecycle, options
from haz._core.runtime import runtime
from haz.engines.base import InitOptions, TaskOptions


@haz.remote
def f():
    pass


def made(**given):
    return options.make_task_options(options.check_task_options(given, "here"))


def test_defaults():
    assert made() == TaskOptions(
        num_cpus=1.0,
        num_gpus=0.0,
        resources={},
        num_returns=1,
        name=None,
        max_retries=3,
        retry_exceptions=False,
        timeout_s=None,
        max_calls=0,
        env_vars={},
        environment=b"",
    )


def test_none_is_the_default():
    names = ("num_cpus", "resources", "num_returns", "name", "max_retries", "timeout_s")
    assert made(**dict.fromkeys(names)) == TaskOptions()
    assert made(runtime_env=None, retry_exceptions=None) == TaskOptions()


def test_what_is_given():
    assert made(
        num_cpus=0.5,
        num_gpus=1,
        resources={"crane": 1},
        num_returns=2,
        name="n",
        max_retries=-1,
        retry_exceptions=[OSError],
        timeout_s=2,
        max_calls=4,
        runtime_env={"env_vars": {"A": "b"}},
    ) == TaskOptions(
        num_cpus=0.5,
        num_gpus=1.0,
        resources={"crane": 1.0},
        num_returns=2,
        name="n",
        max_retries=-1,
        retry_exceptions=(OSError,),
        timeout_s=2.0,
        max_calls=4,
        env_vars={"A": "b"},
        environment=b"",
    )


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"num_cpu": 1}, TypeError, "here has no argument 'num_cpu'; did you mean 'num_cpus'"),
        ({"timeout": 1}, TypeError, "did you mean 'timeout_s'"),
        ({"qqqq": 1}, TypeError, r"no argument 'qqqq' \("),
        ({"max_restarts": 1}, TypeError, "option of actors"),
        ({"num_cpus": "1"}, TypeError, "num_cpus must be a number, not '1'"),
        ({"num_cpus": True}, TypeError, "number"),
        ({"num_cpus": -1}, ValueError, "0 or more"),
        ({"num_cpus": float("nan")}, ValueError, "0 or more"),
        ({"num_cpus": float("inf")}, ValueError, "0 or more"),
        ({"num_cpus": 0.00001}, ValueError, "finer than 0.0001"),
        ({"num_gpus": -0.5}, ValueError, "num_gpus"),
        ({"resources": ["a"]}, TypeError, "dictionary"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus="),
        ({"resources": {"GPU": 1}}, ValueError, "num_gpus="),
        ({"resources": {1: 1}}, TypeError, "strings"),
        ({"resources": {"a": -1}}, ValueError, r"resources\['a'\]"),
        ({"num_returns": -1}, ValueError, "num_returns must be 0 or more"),
        ({"num_returns": 1.5}, TypeError, "integer"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "-1: no limit"),
        ({"_generator_backpressure_num_objects": -2}, ValueError, "-1: no limit"),
        ({"_generator_backpressure_num_objects": "2"}, TypeError, "integer"),
        ({"num_returns": "two"}, ValueError, "integer"),
        ({"name": 1}, TypeError, "name must be a string"),
        ({"max_retries": -2}, ValueError, "-1: without end"),
        ({"max_retries": "1"}, TypeError, "integer"),
        ({"retry_exceptions": ValueError}, TypeError, "list of types"),
        ({"retry_exceptions": [1]}, TypeError, "1 is none"),
        ({"timeout_s": 0}, ValueError, "more than 0"),
        ({"timeout_s": -1}, ValueError, "more than 0"),
        ({"timeout_s": "1"}, TypeError, "seconds"),
        ({"max_calls": -1}, ValueError, "max_calls"),
        ({"runtime_env": "x"}, TypeError, "runtime_env"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, TypeError, "env_vars"),
    ],
)
def test_what_is_wrong(given, error, words):
    with pytest.raises(error, match=words):
        made(**given)
    with pytest.raises(error):
        haz.remote(**given)(lambda: 1)
    with pytest.raises(error):
        f.options(**given)


def test_options_without_a_meaning_here():
    assert made(scheduling_strategy=None, enable_task_events=False) == TaskOptions()
    assert made(accelerator_type=None, placement_group="default") == TaskOptions()


def test_a_type_of_accelerator_is_a_resource():
    given = made(accelerator_type="H100", resources={"crane": 1})
    assert given.resources == {"crane": 1, "accelerator_type:H100": 0.001}
    assert made(accelerator_type="H100").resources == {"accelerator_type:H100": 0.001}
    changed = haz.remote(accelerator_type="H100")(f.__wrapped__).options(resources={"crane": 2})
    assert changed._options.resources == {
        "crane": 2,
        "accelerator_type:H100": 0.001,
    }


def test_max_calls_is_not_for_options():
    with pytest.raises(ValueError, match="max_calls"):
        f.options(max_calls=1)
    assert haz.remote(max_calls=2)(f.__wrapped__)._options.max_calls == 2


def test_options_are_merged():
    g = haz.remote(num_cpus=2, name="a")(f.__wrapped__)
    h = g.options(name="b", max_retries=0).options(num_cpus=3)
    assert (h._options.num_cpus, h._options.name, h._options.max_retries) == (3.0, "b", 0)
    assert (g._options.num_cpus, g._options.name, g._options.max_retries) == (2.0, "a", 3)


def test_records():
    assert repr(InitOptions(num_cpus=1)).startswith("InitOptions(")
    assert "num_cpus=1" in repr(InitOptions(num_cpus=1))
    assert InitOptions() != InitOptions(num_cpus=1)
    assert InitOptions() != TaskOptions()
    assert TaskOptions().resources is not TaskOptions().resources


# ---- init ------------------------------------------------------------------------------------


@pytest.fixture
def start(monkeypatch):
    """What the engine is started with: ``start(**arguments of init)``."""
    seen = {}

    class Engine:
        name = "fake"

        def context(self):
            return {"node_id": "n"}

        def shutdown(self):
            pass

    def create(name, init_options):
        seen["engine"] = name
        seen["options"] = init_options
        return Engine()

    monkeypatch.setattr("haz._core.runtime._create_engine", create)

    def call(*args, **kwargs):
        try:
            haz.init(*args, **kwargs)
        finally:
            haz.shutdown()
        return seen["engine"], seen["options"]

    return call


def test_init_defaults(start, monkeypatch):
    monkeypatch.delenv("HAZ_ENGINE", raising=False)
    monkeypatch.delenv("HAZ_NUM_CPUS", raising=False)
    assert start() == ("native", InitOptions())


def test_init_arguments(start):
    engine, given = start(
        "local",
        num_cpus=2,
        num_gpus=1,
        resources={"a": 1},
        labels={"l": "m"},
        object_store_memory=1e8,
        _memory=1e9,
        namespace="n",
        log_to_driver=False,
        logging_level="DEBUG",
        preload=["json"],
        runtime_env={"env_vars": {"A": "b"}},
        engine="inline",
    )
    assert engine == "inline"
    assert given == InitOptions(
        num_cpus=2,
        num_gpus=1,
        resources={"a": 1.0},
        labels={"l": "m"},
        object_store_memory=100_000_000,
        memory=1_000_000_000,
        namespace="n",
        log_to_driver=False,
        logging_level=10,
        preload=("json",),
        env_vars={"A": "b"},
        environment=b"",
    )


def test_init_environment(start, monkeypatch):
    monkeypatch.setenv("HAZ_ENGINE", "inline")
    monkeypatch.setenv("HAZ_NUM_CPUS", "5")
    assert start() == ("inline", InitOptions(num_cpus=5))
    assert start(engine="native", num_cpus=1) == ("native", InitOptions(num_cpus=1))
    monkeypatch.setenv("HAZ_NUM_CPUS", "many")
    with pytest.raises(ValueError, match="HAZ_NUM_CPUS must be a number of CPUs, and is 'many'"):
        start()
    monkeypatch.setenv("HAZ_ENGINE", "other")
    with pytest.raises(ValueError, match="no engine 'other'; there are native, inline"):
        start(num_cpus=1)


def test_local_mode_is_the_inline_engine(start):
    assert start(local_mode=True)[0] == "inline"


def test_init_accepts_all_of_rays_arguments(start):
    runtime._warned.difference_update({"include_dashboard", "enable_resource_isolation"})
    start(
        address="auto",
        include_dashboard=False,
        dashboard_host="0.0.0.0",
        dashboard_port=8265,
        job_config=None,
        configure_logging=True,
        logging_format="%(message)s",
        logging_config=None,
        enable_resource_isolation=False,
        cgroup_path=None,
        system_reserved_cpu=None,
        system_reserved_memory=None,
        proxy_server_url=None,
        _temp_dir="/tmp/ray",
        _system_config={},
        _memory=10**9,
        _node_ip_address="127.0.0.1",
        object_spilling_directory="/tmp",
    )
    with pytest.warns(RuntimeWarning, match="ignores include_dashboard"):
        start(include_dashboard=True)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"num_cpu": 1}, TypeError, "did you mean 'num_cpus'"),
        ({"redis_port": 1}, TypeError, r"haz.init\(\) has no argument 'redis_port'"),
        ({"_unheard_of": 1}, TypeError, "_unheard_of"),
        ({"num_cpus": -1}, ValueError, "0 or more"),
        ({"num_cpus": "2"}, TypeError, "integer"),
        ({"num_cpus": 1.5}, TypeError, "integer"),
        ({"num_gpus": -1}, ValueError, "num_gpus"),
        *(
            ({name: 10**400}, ValueError, "at most")
            for name in ("num_cpus", "num_gpus", "_memory", "object_store_memory")
        ),
        ({"num_cpus": 2**62}, ValueError, "at most"),
        ({"resources": {"a": 1e300}}, ValueError, "at most"),
        ({"resources": {"\ud800": 1}}, ValueError, "half a character"),
        ({"namespace": "\ud800"}, ValueError, "half a character"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus="),
        ({"labels": {"a": 1}}, TypeError, "labels"),
        ({"object_store_memory": 0}, ValueError, "object_store_memory"),
        ({"object_store_memory": 1.5}, TypeError, "integer"),
        ({"namespace": 1}, TypeError, "namespace"),
        ({"logging_level": "loud"}, ValueError, "critical"),
        ({"preload": "numpy"}, TypeError, "list of names"),
        ({"preload": 5}, TypeError, "list of names"),
        ({"engine": "fast"}, ValueError, "no engine 'fast'"),
        ({"address": "ray://10.0.0.1:10001"}, ConnectionError, "this machine"),
        ({"address": 5}, TypeError, "address"),
        ({"object_store_memory": 10}, ValueError, "1000000 or more \\(bytes\\), not 10"),
        ({"namespace": ""}, ValueError, "can't be empty"),
        ({"preload": {"numpy": 1}}, TypeError, "list of names"),
        ({"engine": False}, TypeError, "engine must be a string"),
        ({"logging_level": 2**40}, ValueError, "at most"),
        ({"dashboard_port": 70000}, ValueError, "at most 65535"),
        ({"dashboard_port": -1}, ValueError, "dashboard_port"),
        ({"system_reserved_cpu": float("nan")}, ValueError, "system_reserved_cpu"),
        ({"system_reserved_memory": 0.5}, ValueError, "system_reserved_memory"),
        *(
            ({name: value}, TypeError, f"{name} must be True or False")
            for name in (
                *("log_to_driver", "local_mode", "ignore_reinit_error", "include_dashboard"),
                *("configure_logging", "enable_resource_isolation"),
            )
            for value in ("x", 2, 1.0, [], float("nan"))
        ),
        *(
            ({name: 5}, TypeError, f"{name} must be a string")
            for name in ("dashboard_host", "logging_format", "cgroup_path", "proxy_server_url")
        ),
    ],
)
def test_init_refuses(start, given, error, words):
    with pytest.raises(error, match=words):
        start(**given)
    assert not haz.is_initialized()


def test_unknown_arguments_of_init_are_named(start):
    with pytest.raises(TypeError, match=r"no argument 'adress'; did you mean 'address'\?"):
        start(adress="auto")
    with pytest.raises(TypeError, match="did you mean '_memory'") as caught:
        start(_memroy=5)
    for name in ("address", "_memory", *lifecycle.init.__kwdefaults__):
        assert name in str(caught.value)


def test_flags_may_be_numbers_that_are_true_or_false():
    np = pytest.importorskip("numpy")
    for value in (True, 1, np.True_):
        assert options.check_bool("flag", value) is True
        assert options.check_bool("flag", type(value)(0)) is False


def test_engine_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "haz.engines.native", None)
    with pytest.raises(ImportError, match="engine='inline'"):
        haz.init(engine="native")
    assert not haz.is_initialized()


def test_every_argument_of_init_is_documented():
    doc = lifecycle.init.__doc__
    for name in lifecycle.init.__kwdefaults__:
        assert name in doc, name


class Unshowable:
    def __repr__(self):
        raise RuntimeError("a repr that fails")


@pytest.mark.parametrize("value", [Unshowable(), ["x" * 100_000]], ids=["repr fails", "long"])
@pytest.mark.parametrize(
    "name",
    [
        *("num_cpus", "num_gpus", "memory", "resources", "num_returns", "name", "max_retries"),
        *("retry_exceptions", "timeout_s", "max_calls", "runtime_env", "priority"),
    ],
)
def test_errors_show_values_shortly_and_without_fail(name, value):
    with pytest.raises(TypeError, match=name) as caught:
        haz.remote(**{name: value})(len)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [Unshowable(), "x" * 100_000], ids=["repr fails", "long"])
def test_errors_of_init_show_values_shortly_and_without_fail(start, value):
    for name in ("num_cpus", "resources", "labels", "preload", "logging_level", "runtime_env"):
        with pytest.raises((TypeError, ValueError), match=name) as caught:
            start(**{name: value})
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["num_cpus", "num_gpus", "memory", "num_returns", "priority"])
def test_numbers_that_are_too_large(name):
    for value in (2**63, 10**400, 10**5000):
        with pytest.raises(ValueError, match=f"{name} must be at most"):
            haz.remote(**{name: value})(len)


@pytest.mark.parametrize("name", ["num_cpus", "num_gpus", "memory"])
def test_resources_that_no_node_has(name):
    for value in (10**15, 2**63):
        with pytest.raises(haz.exceptions.InfeasibleResourcesError, match=name):
            haz.remote(**{name: value})(len)


def test_numbers_may_be_of_numpy():
    np = pytest.importorskip("numpy")
    checked = options.check_task_options(
        {"num_cpus": np.int64(2), "timeout_s": np.float32(0.5), "num_returns": np.int8(3)}, "here"
    )
    assert checked == {"num_cpus": 2.0, "timeout_s": 0.5, "num_returns": 3}
    assert options.check_task_options({"timeout_s": 10**400}, "here") == {"timeout_s": 1e300}
