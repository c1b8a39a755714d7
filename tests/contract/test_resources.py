"""GPUs and memory: who gets what, and what cannot be had."""

from __future__ import annotations

import os

import haz
import pytest
from haz import exceptions
from haz.testing import wait_until


@pytest.fixture
def gpus(engine_name, monkeypatch):
    """A node with two GPUs, which need not exist."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    haz.init(engine=engine_name, num_cpus=4, num_gpus=2, _memory=1000)
    return engine_name


@haz.remote(num_gpus=1)
def mine():
    ids = haz.get_runtime_context().get_accelerator_ids()["GPU"]
    return haz.get_gpu_ids(), ids, os.environ.get("CUDA_VISIBLE_DEVICES")


@haz.remote
def visible():
    return os.environ.get("CUDA_VISIBLE_DEVICES"), haz.get_gpu_ids()


def test_a_task_has_the_gpus_that_it_asked_for(gpus):
    ids, names, environ = haz.get(mine.remote())
    assert ids in ([0], [1])
    assert names == [str(ids[0])]
    assert environ == str(ids[0])
    ids, names, environ = haz.get(mine.options(num_gpus=2).remote())
    assert sorted(ids) == [0, 1]
    assert environ == ",".join(map(str, ids)) == ",".join(names)


def test_the_variable_is_put_back(gpus):
    haz.get([mine.remote() for _ in range(8)])
    assert haz.get([visible.remote() for _ in range(8)]) == [(None, [])] * 8
    assert haz.get_gpu_ids() == []
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_arguments_of_every_size_beside_gpus(gpus):
    @haz.remote(num_gpus=2)
    def f(*args, last=None):
        return len(haz.get_gpu_ids()), [len(arg) for arg in args], last

    ref = haz.put("x" * 5000)
    for size in (0, 1, 8, 20, 40, 50, 60, 100, 5000):
        got = haz.get(f.remote("a" * size, ref, ref, last=haz.put(size)))
        assert got == (2, [size, 5000, 5000], size)
        assert haz.get(f.remote("a" * size)) == (2, [size], None)


def test_parts_of_a_gpu(gpus):
    refs = [mine.options(num_gpus=0.25).remote() for _ in range(12)]
    for ids, _, environ in haz.get(refs):
        assert len(ids) == 1
        assert environ == str(ids[0])


def test_an_actor_keeps_its_gpu(gpus):
    @haz.remote(num_gpus=1)
    class Holder:
        def __init__(self):
            self.at_start = haz.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

        def ids(self):
            context = haz.get_runtime_context()
            assert self.at_start == (haz.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"])
            assert context.get_assigned_resources() == {"GPU": 1}
            return context.get_accelerator_ids()["GPU"]

    first, second = Holder.remote(), Holder.remote()
    held = haz.get([first.ids.remote(), second.ids.remote()])
    assert sorted(held) == [["0"], ["1"]]
    assert "GPU" not in haz.available_resources()
    haz.kill(first)
    wait_until(lambda: haz.available_resources().get("GPU") == 1)
    assert haz.get(mine.remote())[1] == held[0]
    del second
    wait_until(lambda: haz.available_resources().get("GPU") == 2)


def test_names_of_the_gpus_that_the_program_may_see(engine_name, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-abc, 5")
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES"):
        haz.init(engine=engine_name, num_cpus=1, num_gpus=3)
    haz.init(engine=engine_name, num_cpus=1)
    assert haz.cluster_resources()["GPU"] == 2
    ids, names, environ = haz.get(mine.options(num_gpus=2).remote())
    assert ids == ["GPU-abc", 5]
    assert names == ["GPU-abc", "5"]
    assert environ == "GPU-abc,5"
    assert haz.get(visible.remote()) == ("GPU-abc, 5", [])


@pytest.mark.parametrize("nothing", ["", "-1", "-1,0"])
def test_no_gpu_is_to_be_seen(engine_name, monkeypatch, nothing):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
    haz.init(engine=engine_name, num_cpus=1)
    assert "GPU" not in haz.cluster_resources()
    with pytest.raises(exceptions.InfeasibleResourcesError, match="GPU"):
        mine.remote()


def test_what_can_not_be_asked_for():
    with pytest.raises(ValueError, match="whole number"):
        mine.options(num_gpus=1.5)
    with pytest.raises(ValueError, match="bytes"):
        mine.options(memory=0.5)
    with pytest.raises(ValueError, match="use memory"):
        mine.options(resources={"memory": 1})
    with pytest.raises(ValueError, match="num_gpus"):
        haz.remote(num_gpus=2.5)(type("A", (), {}))


def test_memory_is_counted(gpus):
    assert haz.cluster_resources()["memory"] == 1000
    assert haz.available_resources()["memory"] == 1000

    @haz.remote(memory=600)
    def f():
        return haz.available_resources().get("memory"), dict(
            haz.get_runtime_context().get_assigned_resources()
        )

    for left, assigned in haz.get([f.remote() for _ in range(4)]):
        assert left == 400, "two ran at a time"
        assert assigned == {"CPU": 1, "memory": 600}
    wait_until(lambda: haz.available_resources()["memory"] == 1000)
    for _ in range(2):
        with pytest.raises(exceptions.InfeasibleResourcesError, match="memory"):
            f.options(memory=1001).remote()


def test_memory_and_custom_resources_of_an_actor(engine_name):
    haz.init(engine=engine_name, num_cpus=1, resources={"crane": 1}, _memory=1000)

    @haz.remote(memory=300, resources={"crane": 0.5}, num_cpus=0.25)
    class Holder:
        def assigned(self):
            return haz.get_runtime_context().get_assigned_resources()

    holders = [Holder.remote(), Holder.remote()]
    for holder in holders:
        assert haz.get(holder.assigned.remote()) == {"CPU": 0.25, "crane": 0.5, "memory": 300}
    left = haz.available_resources()
    assert left["memory"] == 400
    assert left["CPU"] == 0.5
    assert "crane" not in left
    holders.clear()
    del holder
    wait_until(lambda: haz.available_resources().get("crane") == 1)
    with pytest.raises(exceptions.InfeasibleResourcesError, match="memory"):
        Holder.options(memory=2000).remote()


@pytest.mark.own_node
def test_memory_by_default(engine_name):
    haz.init(engine=engine_name, num_cpus=1)
    assert haz.cluster_resources()["memory"] > 1e6
    for wrong in (0, -1, 1.5, "1"):
        haz.shutdown()
        with pytest.raises((TypeError, ValueError), match="_memory"):
            haz.init(engine=engine_name, num_cpus=1, _memory=wrong)


@pytest.mark.own_node
def test_a_type_of_accelerator(engine_name):
    haz.init(engine=engine_name, num_cpus=1, resources={"accelerator_type:A100": 1})

    @haz.remote(accelerator_type="A100")
    def f():
        return haz.get_runtime_context().get_assigned_resources()

    assert haz.get(f.remote())["accelerator_type:A100"] == 0.001
    with pytest.raises(exceptions.InfeasibleResourcesError, match="accelerator_type:H100"):
        f.options(accelerator_type="H100").remote()

    @haz.remote(accelerator_type="A100")
    class Actor:
        def get(self):
            return 1

    assert haz.get(Actor.remote().get.remote()) == 1
    with pytest.raises(exceptions.InfeasibleResourcesError, match="accelerator_type:H100"):
        Actor.options(accelerator_type="H100").remote()
