"""Resources, nodes, the runtime context, cancel without effect, threads."""

from __future__ import annotations

import threading

import haz
import pytest
from haz import exceptions


@haz.remote
def one():
    return 1


def test_cluster_resources(engine):
    resources = haz.cluster_resources()
    assert resources["CPU"] == 2
    assert resources["crane"] == 2
    assert resources["object_store_memory"] > 0
    assert all(type(amount) is float for amount in resources.values())
    resources["CPU"] = 99
    assert haz.cluster_resources()["CPU"] == 2


def test_available_resources_in_a_task(engine):
    @haz.remote(num_cpus=0.5, resources={"crane": 2})
    def f():
        return haz.available_resources()

    inside = haz.get(f.remote())
    assert inside["CPU"] == 1.5
    assert "crane" not in inside
    from haz.testing import wait_until

    wait_until(lambda: haz.available_resources().get("crane") == 2)
    assert haz.available_resources()["CPU"] == 2


def test_fractions_and_zero(engine):
    refs = [one.options(num_cpus=amount).remote() for amount in (0, 0.0001, 0.25, 1.5, 2)]
    assert haz.get(refs) == [1] * 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_cpus": 3}, "CPU"),
        ({"num_gpus": 1}, "GPU"),
        ({"resources": {"crane": 3}}, "crane"),
        ({"resources": {"unheard_of": 1}}, "unheard_of"),
    ],
)
def test_resources_that_are_not_there_are_an_error_at_the_call(engine, options, words):
    impossible = one.options(**options)
    for _ in range(2):
        with pytest.raises(exceptions.InfeasibleResourcesError, match=words):
            impossible.remote()
    assert haz.get(one.remote()) == 1


def test_nodes(engine):
    (node,) = haz.nodes()
    assert node["Alive"] is True
    assert node["Resources"]["CPU"] == 2
    assert node["NodeID"]


def test_labels(engine_name):
    haz.init(engine=engine_name, num_cpus=1, labels={"place": "desk"})
    assert haz.nodes()[0]["Labels"]["place"] == "desk"


def test_context_of_the_driver(engine):
    context = haz.get_runtime_context()
    assert context.get_node_id() == haz.nodes()[0]["NodeID"]
    assert int(context.get_job_id(), 16) >= 0
    assert int(context.get_worker_id(), 16) >= 0
    assert context.get_task_id() is None
    assert context.get_task_name() is None
    assert context.get_actor_id() is None
    assert context.get_placement_group_id() is None
    assert context.was_current_actor_reconstructed is False
    assert context.namespace
    with pytest.raises(RuntimeError, match="driver"):
        context.get_assigned_resources()
    assert "task_id" not in context.get()
    assert context.get()["node_id"] == context.get_node_id()


def test_context_of_a_task(engine):
    @haz.remote
    def f():
        context = haz.get_runtime_context()
        return {
            "task": context.get_task_id(),
            "name": context.get_task_name(),
            "function": context.get_task_function_name(),
            "resources": context.get_assigned_resources(),
            "node": context.get_node_id(),
            "job": context.get_job_id(),
            "attempt": context.get_attempt_number(),
        }

    driver = haz.get_runtime_context()
    first, second = haz.get([f.remote(), f.options(name="shown", num_cpus=2).remote()])
    assert first["task"] != second["task"]
    assert len(first["task"]) == 32
    assert first["function"].endswith("f")
    assert second["name"] == "shown"
    assert second["function"] == first["function"]
    assert first["resources"] == {"CPU": 1}
    assert second["resources"] == {"CPU": 2}
    assert first["node"] == driver.get_node_id()
    assert first["job"] == driver.get_job_id()
    assert first["attempt"] == 0


def test_context_of_a_nested_task_and_after_it(engine):
    @haz.remote(name="inner")
    def inner():
        return haz.get_runtime_context().get_task_name()

    @haz.remote(name="outer")
    def outer():
        before = haz.get_runtime_context().get_task_name()
        middle = haz.get(inner.remote())
        return before, middle, haz.get_runtime_context().get_task_name()

    assert haz.get(outer.remote()) == ("outer", "inner", "outer")


def test_namespace(engine_name):
    haz.init(engine=engine_name, num_cpus=1, namespace="mine")
    assert haz.get_runtime_context().namespace == "mine"
    f = haz.remote(lambda: haz.get_runtime_context().namespace)
    assert haz.get(f.remote()) == "mine"


def test_gpu_ids(engine):
    assert haz.get_gpu_ids() == []


def test_cancel_of_a_finished_task_has_no_effect(engine):
    ref = one.remote()
    haz.wait([ref])
    haz.cancel(ref)
    haz.cancel(ref, force=True, recursive=False)
    assert haz.get(ref) == 1
    haz.cancel(haz.put(1))
    with pytest.raises(TypeError, match="not int"):
        haz.cancel(1)
    with pytest.raises(TypeError):
        haz.cancel([ref])


def test_from_many_threads(engine):
    results = {}

    def work(number):
        refs = [one.remote() for _ in range(20)]
        refs.append(haz.put(number))
        _, rest = haz.wait(refs, num_returns=len(refs))
        assert not rest
        results[number] = sum(haz.get(refs))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: 20 + n for n in range(8)}


def test_snapshot_counts(engine):
    refs = [haz.put(i) for i in range(3)]
    snapshot = haz._core.runtime.runtime.ensure().snapshot()
    assert isinstance(snapshot, dict)
    del refs
