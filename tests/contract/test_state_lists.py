"""`haz.util.state` and `haz.timeline`: lists of what there is and of what has ended."""

from __future__ import annotations

import json
import time

import haz
import pytest
from haz.testing import wait_until
from haz.util import state


@haz.remote
def one(x=1):
    return x


@haz.remote
def fails():
    raise ValueError("no")


@haz.remote
class Counter:
    def __init__(self, start=0):
        self.value = start

    def add(self):
        self.value += 1
        return self.value

    def fails(self):
        raise ValueError("no")


def ended(**fields):
    """The tasks that have ended and have such fields, the latest first."""
    filters = [(name, "=", value) for name, value in fields.items()]
    return [task for task in state.list_tasks(filters=filters) if task.end_time_ms is not None]


def test_tasks_that_have_ended(engine):
    before = time.time() * 1000
    haz.get([one.remote(i) for i in range(3)])
    with pytest.raises(ValueError, match="no"):
        haz.get(fails.remote())
    after = time.time() * 1000
    found = ended(name="one")
    assert [task.state for task in found] == ["FINISHED"] * 3
    assert [task.type for task in found] == ["NORMAL_TASK"] * 3
    assert len({task.task_id for task in found}) == 3
    for task in found:
        assert before - 50 <= task.creation_time_ms <= task.end_time_ms <= after
        assert before <= task.start_time_ms <= task.end_time_ms
        assert task.worker_pid > 0
        assert task.error_type is None
    failed = ended(state="failed")
    assert [(task.name, task.error_type) for task in failed] == [
        ("fails", "TASK_EXECUTION_EXCEPTION")
    ]


def test_an_argument_that_failed(engine):
    ref = one.options(name="depends").remote(fails.remote())
    with pytest.raises(ValueError, match="no"):
        haz.get(ref)
    (task,) = ended(name="depends")
    assert (task.state, task.error_type) == ("FAILED", "DEPENDENCY_RESOLUTION_FAILED")


def test_a_task_sees_itself_and_its_parent(engine):
    @haz.remote(num_cpus=0, name="child")
    def child():
        me = haz.get_runtime_context().get_task_id()
        found = state.get_task(me)
        return found.state, found.parent_task_id

    @haz.remote(num_cpus=0)
    def parent():
        return haz.get_runtime_context().get_task_id(), haz.get(child.remote())

    parent_id, (child_state, seen) = haz.get(parent.remote())
    assert (child_state, seen) == ("RUNNING", parent_id)
    assert ended(name="child")[0].parent_task_id == parent_id


def test_actors(engine):
    counter = Counter.options(name="tally").remote()
    other = Counter.remote()
    haz.get([counter.add.remote(), other.add.remote()])
    found = {actor.actor_id: actor for actor in state.list_actors()}
    assert set(found) == {counter._actor_id.hex(), other._actor_id.hex()}
    shown = found[counter._actor_id.hex()]
    assert (shown.class_name, shown.name, shown.state) == ("Counter", "tally", "ALIVE")
    assert shown.death_cause is None
    assert shown.pid == haz.get(counter.__ray_call__.remote(lambda self: __import__("os").getpid()))
    haz.kill(counter)
    wait_until(lambda: state.get_actor(counter._actor_id.hex()).state == "DEAD")
    shown = state.get_actor(counter._actor_id.hex())
    assert shown["death_cause"]["reason"] == "killed"
    assert "haz.kill() ended it" in shown.death_cause["message"]
    assert [actor.state for actor in state.list_actors(filters=[("state", "!=", "dead")])] == [
        "ALIVE"
    ]


def test_an_actor_whose_constructor_fails(engine):
    @haz.remote
    class Picky:
        def __init__(self):
            raise KeyError("colour")

        def get(self):
            return 1

    with pytest.raises(haz.exceptions.ActorDiedError):
        haz.get(Picky.remote().get.remote())
    (actor,) = state.list_actors(filters=[("class_name", "=", Picky.__name__)])
    assert actor.state == "DEAD"
    assert actor.death_cause["reason"] == "constructor"
    assert "colour" in actor.death_cause["message"]
    (construction,) = ended(type="ACTOR_CREATION_TASK")
    assert construction.state == "FAILED"


def test_calls_of_an_actor(engine):
    counter = Counter.remote()
    haz.get(counter.add.remote())
    with pytest.raises(ValueError, match="no"):
        haz.get(counter.fails.remote())
    actor = counter._actor_id.hex()
    found = {task.name: task for task in ended(actor_id=actor)}
    assert {name: task.type for name, task in found.items()} == {
        "Counter.__init__": "ACTOR_CREATION_TASK",
        "Counter.add": "ACTOR_TASK",
        "Counter.fails": "ACTOR_TASK",
    }
    assert found["Counter.fails"].error_type == "TASK_EXECUTION_EXCEPTION"


def test_objects(engine):
    ref = haz.put(bytes(100_000))
    small = haz.put(1)
    (found,) = state.get_objects(ref.hex())
    assert found.object_size >= 100_000
    assert found.in_object_store
    assert (found.task_status, found.reference_type) == ("FINISHED", "LOCAL_REFERENCE")
    assert {ref.hex(), small.hex()} <= {one.object_id for one in state.list_objects()}
    before = ref.hex()
    del ref, found
    wait_until(lambda: not state.get_objects(before))


def test_node_job_and_placement_groups(engine):
    context = haz.get_runtime_context()
    (node,) = state.list_nodes()
    assert node.node_id == context.get_node_id()
    assert node.resources_total["CPU"] == 2
    (job,) = state.list_jobs()
    assert job.job_id == context.get_job_id()
    group = haz.util.placement_group([{"CPU": 1}], name="g")
    haz.get(group.ready())
    (shown,) = state.list_placement_groups(filters=[("name", "=", "g")])
    assert shown.state == "CREATED"
    assert shown.bundles == [{"bundle_id": 0, "unit_resources": {"CPU": 1.0}}]
    assert state.get_placement_group(shown.placement_group_id) == shown
    haz.util.remove_placement_group(group)


def test_summaries(engine):
    counter = Counter.remote()
    haz.get([*(one.remote() for _ in range(4)), counter.add.remote()])
    tasks = state.summarize_tasks()["cluster"]
    assert tasks["summary"]["one"] == {
        "func_or_class_name": "one",
        "type": "NORMAL_TASK",
        "state_counts": {"FINISHED": 4},
    }
    assert (tasks["total_tasks"], tasks["total_actor_tasks"]) == (4, 1)
    actors = state.summarize_actors()["cluster"]
    assert actors["summary"]["Counter"]["state_counts"] == {"ALIVE": 1}
    kept = haz.put(bytes(2_000_000))
    objects = state.summarize_objects()["cluster"]
    assert objects["total_size_mb"] >= 2
    assert objects["total_objects"] == 2  # the actor's handle, too
    del kept


def test_timeline(engine, tmp_path):
    haz.get([one.remote(i) for i in range(3)])
    events = haz.timeline()
    bars = [event for event in events if event["ph"] == "X"]
    assert [bar["name"] for bar in bars] == ["one"] * 3
    assert [bar["ts"] for bar in bars] == sorted(bar["ts"] for bar in bars)
    assert all(bar["dur"] >= 0 for bar in bars)
    named = {event["pid"] for event in events if event["name"] == "process_name"}
    assert named == {bar["pid"] for bar in bars}
    path = tmp_path / "trace.json"
    assert haz.timeline(path) is None
    assert json.loads(path.read_text()) == events


def test_entries_are_like_dictionaries(engine):
    haz.get(one.remote())
    (task,) = state.list_tasks()
    assert task["name"] == task.name == task.get("name") == "one"
    assert task.get("nothing", 3) == 3
    assert task.asdict()["state"] == "FINISHED"
    assert "state" in task
    assert task.keys() == list(task.asdict())
    assert task == state.get_task(task.task_id)
    assert "name='one'" in repr(task)


def test_limit_and_filters(engine):
    haz.get([one.remote(i) for i in range(5)])
    assert len(state.list_tasks(limit=2)) == 2
    assert len(state.list_tasks(filters=[("state", "!=", "FINISHED")])) == 0
    assert len(state.list_tasks(filters=[("worker_pid", "!=", 0), ("name", "=", "ONE")])) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"filters": [("colour", "=", 1)]}, "no field 'colour'"),
        ({"filters": [("state", ">", 1)]}, "predicate"),
        ({"filters": [("state", "=")]}, "a filter is"),
        ({"filters": "state"}, "must be a list"),
        ({"limit": 0}, "limit"),
        ({"limit": 10_001}, "10000"),
        ({"limit": True}, "limit"),
        ({"address": "10.0.0.1:6379"}, "haz.init"),
    ],
)
def test_nonsense_is_an_error_at_the_call(engine, arguments, words):
    with pytest.raises((TypeError, ValueError), match=words):
        state.list_tasks(**arguments)
    assert state.get_task("nonsense") is None
    assert state.get_actor("nonsense") is None


def test_what_is_not_there_says_what_to_do():
    with pytest.raises(AttributeError, match="driver's own output"):
        state.get_log("x")


def test_refs_know_their_task(engine):
    @haz.remote(num_returns=2)
    def two():
        me = haz.get_runtime_context().get_task_id()
        return me, me

    @haz.remote
    def mine():
        return haz.get_runtime_context().get_task_id()

    first, second = two.remote()
    assert haz.get(first) == first.task_id().hex() == second.task_id().hex()
    ref = mine.remote()
    assert haz.get(ref) == ref.task_id().hex() == state.get_task(ref).task_id
    assert haz.put(1).task_id().is_nil()
    assert ref.job_id().hex() == haz.get_runtime_context().get_job_id()
