"""Values that nobody can mean: a TypeError or a ValueError at the call, with the argument's name."""

from __future__ import annotations

import haz
import pytest


class Odd:
    """Whatever is asked of it, it fails."""

    def __repr__(self):
        raise RuntimeError("no repr")

    def __bool__(self):
        raise RuntimeError("neither")

    __len__ = __eq__ = __bool__

    __hash__ = object.__hash__


NAN = float("nan")
ODD = [object(), Odd(), "x", b"x", [1], {1: 2}, 1j, int, -5, 2.5, NAN]
NOT_FLAGS = [*ODD, "", [], {}, 2, float("inf")]
NOT_SECONDS = [object(), Odd(), "1", b"1", [], {}, 1j, True, -1, -0.5, NAN, -(10**400)]
NOT_COUNTS = [object(), Odd(), "1", [], {}, 1j, True, 0.5, NAN, 0, -1, 2, 10**30]


@haz.remote
def one():
    return 1


@haz.remote
class Actor:
    def method(self):
        return 1


def refused(name, call, values):
    for value in values:
        with pytest.raises((TypeError, ValueError), match=name) as caught:
            call(value)
        assert len(str(caught.value)) < 600


def test_refs(engine):
    handle = Actor.remote()
    for name in ("get", "wait", "cancel", "free"):
        call = getattr(haz, name)
        refused(name, call, [*ODD, None, {}, handle, handle.method, one, {one}])
    for name in ("get", "wait", "free"):
        call = getattr(haz, name)
        refused(name, lambda value, call=call: call([value]), [*ODD, None, {}, handle, []])
    refused("haz.kill", haz.kill, [*ODD, None, one, haz.put(1), Actor])
    refused("ObjectRef", haz.put, [haz.put(1)])


def test_timeouts_and_counts(engine):
    ref = haz.put(1)
    refused("timeout", lambda value: haz.get(ref, timeout=value), NOT_SECONDS)
    refused("timeout", lambda value: haz.wait([ref], timeout=value), NOT_SECONDS)
    refused("num_returns", lambda value: haz.wait([ref], num_returns=value), [*NOT_COUNTS, None])


def test_flags(engine):
    ref = haz.put(1)
    task = one.remote()
    handle = Actor.remote()
    for name, call in [
        ("fetch_local", lambda value: haz.wait([ref], fetch_local=value)),
        ("force", lambda value: haz.cancel(task, force=value)),
        ("recursive", lambda value: haz.cancel(task, recursive=value)),
        ("local_only", lambda value: haz.free([], local_only=value)),
        ("no_restart", lambda value: haz.kill(handle, no_restart=value)),
        ("wait_for_processes", lambda value: haz.shutdown(wait_for_processes=value)),
        ("_owner", lambda value: haz.put(1, _owner=value)),
    ]:
        refused(name, call, NOT_FLAGS)
    assert haz.get([task, handle.method.remote()]) == [1, 1]  # nothing has happened


TASK_OPTIONS = {
    "num_cpus": [*NOT_SECONDS, float("inf")],
    "num_gpus": [*NOT_SECONDS, 1.5],
    "memory": [*NOT_SECONDS, 0.5],
    "resources": [*ODD, {"a": -1}, {"CPU": 1}, {"": 1}],
    "num_returns": [object(), Odd(), "x", [], 1j, True, 0.5, NAN, -1, 10**30],
    "name": [object(), Odd(), b"x", [], 5, True, "half \ud800"],
    "max_retries": [object(), Odd(), "1", [], True, 0.5, NAN, -2],
    "retry_exceptions": [object(), Odd(), "x", 1, [1], [int], {}],
    "timeout_s": [*NOT_SECONDS, 0],
    "runtime_env": [object(), Odd(), "x", [1], 5],
    "priority": [object(), Odd(), "1", [], True, 0.5, NAN, 2**40],
    "accelerator_type": [5, [], Odd()],
    "label_selector": [5, [1], "x", Odd(), {1: 2}, {"": "a"}, {"a": ""}, {"a": "in("}],
    "fallback_strategy": [5, "x", Odd(), {}, [5], [{}], [{"num_cpus": 1}]],
    "enable_task_events": NOT_FLAGS,
    "object_store_memory": NOT_SECONDS,
    "scheduling_strategy": [object(), "x", 5, True, []],
    "placement_group": [object(), "x", 5, True, []],
}


@pytest.mark.parametrize("name", TASK_OPTIONS)
def test_options_of_tasks(engine, name):
    refused(name, lambda value: one.options(**{name: value}), TASK_OPTIONS[name])
    refused(name, lambda value: haz.remote(**{name: value})(len), TASK_OPTIONS[name])


ACTOR_OPTIONS = {
    **{
        name: TASK_OPTIONS[name] for name in ("num_cpus", "num_gpus", "memory", "resources", "name")
    },
    "namespace": [*TASK_OPTIONS["name"], ""],
    "get_if_exists": NOT_FLAGS,
    "allow_out_of_order_execution": NOT_FLAGS,
    "lifetime": [object(), "x", 5, True, []],
    "max_restarts": TASK_OPTIONS["max_retries"],
    "max_task_retries": TASK_OPTIONS["max_retries"],
    "max_concurrency": [object(), Odd(), "1", [], True, 0.5, NAN, 0, -1],
    "max_pending_calls": [object(), Odd(), "1", [], True, 0.5, NAN, 0, -2],
    "concurrency_groups": [object(), Odd(), "x", [1], {"a": 0}, {"a": "b"}, {1: 1}, {"": 1}],
    "runtime_env": TASK_OPTIONS["runtime_env"],
}


@pytest.mark.parametrize("name", ACTOR_OPTIONS)
def test_options_of_actors(engine, name):
    refused(name, lambda value: Actor.options(**{name: value}), ACTOR_OPTIONS[name])
    decorate = lambda value: haz.remote(**{name: value})(Actor.__wrapped__)  # noqa: E731
    refused(name, decorate, ACTOR_OPTIONS[name])


METHOD_OPTIONS = {
    **{name: TASK_OPTIONS[name] for name in ("num_returns", "name", "timeout_s", "priority")},
    "max_task_retries": TASK_OPTIONS["max_retries"],
    "retry_exceptions": TASK_OPTIONS["retry_exceptions"],
    "concurrency_group": [object(), Odd(), "x", 5, True, []],
    "enable_task_events": NOT_FLAGS,
    "tensor_transport": [5, [], Odd()],
}


@pytest.mark.parametrize("name", METHOD_OPTIONS)
def test_options_of_methods(engine, name):
    handle = Actor.remote()
    options = handle.method.options
    # Of "concurrency_group" the error says "concurrency group 'x'".
    refused(name.partition("_")[0], lambda value: options(**{name: value}), METHOD_OPTIONS[name])
    if name != "concurrency_group":  # the class knows its groups, not the method
        decorate = lambda value: haz.method(**{name: value})(len)  # noqa: E731
        refused(name, decorate, METHOD_OPTIONS[name])
