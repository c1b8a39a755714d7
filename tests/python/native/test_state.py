"""`haz.util.state` about processes: what waits, what died, and many entries."""

from __future__ import annotations

import os
import time

import haz
import pytest
from haz.testing import wait_until
from haz.util import state


def by_state(**fields):
    filters = [(name, "=", value) for name, value in fields.items()]
    counts = {}
    for task in state.list_tasks(filters=filters):
        counts[task.state] = counts.get(task.state, 0) + 1
    return counts


def test_tasks_that_have_not_ended(tmp_path):
    haz.init(engine="native", num_cpus=1)
    path = str(tmp_path / "go")

    @haz.remote(name="holds")
    def wait_for_file(path):
        while not os.path.exists(path):
            time.sleep(0.01)

    @haz.remote(name="depends")
    def depends(x):
        return x

    @haz.remote(name="asks", num_cpus=0)
    def asks(refs):
        return haz.get(refs[0])

    running = wait_for_file.remote(path)
    behind = wait_for_file.remote(path)
    dependent = depends.remote(running)
    asking = asks.remote([running])
    wait_until(lambda: by_state(name="asks") == {"RUNNING_IN_RAY_GET": 1})
    assert by_state(name="depends") == {"PENDING_ARGS_AVAIL": 1}
    held = by_state(name="holds")
    assert held.pop("RUNNING") == 1
    assert set(held) <= {"PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER"}
    (task,) = state.list_tasks(filters=[("name", "=", "asks")])
    (worker,) = state.list_workers(filters=[("pid", "=", task.worker_pid)])
    assert worker.is_alive
    assert task.end_time_ms is None
    open(path, "w").close()
    haz.get([running, behind, dependent, asking])
    assert by_state() == {"FINISHED": 4}


def test_a_worker_that_died():
    haz.init(engine="native", num_cpus=1)

    @haz.remote(max_retries=1, name="dies")
    def dies():
        os._exit(7)

    with pytest.raises(haz.exceptions.WorkerCrashedError):
        haz.get(dies.remote())
    (task,) = state.list_tasks(filters=[("name", "=", "dies")])
    assert (task.state, task.error_type, task.attempt_number) == ("FAILED", "WORKER_DIED", 1)
    worker = state.get_worker(task.worker_id)
    assert (worker.is_alive, worker.state, worker.exit_code) == (False, "DEAD", 7)
    assert worker.pid == task.worker_pid
    events = [event for event in haz.timeline() if event["name"] == "dies"]
    assert [event["args"]["error_type"] for event in events] == ["WORKER_DIED"]


def test_an_actor_that_is_started_again_and_dies():
    haz.init(engine="native", num_cpus=1)

    @haz.remote(max_restarts=1)
    class Fragile:
        def die(self):
            os.kill(os.getpid(), 9)

        def pid(self):
            return os.getpid()

    actor = Fragile.remote()
    number = actor._actor_id.hex()
    with pytest.raises(haz.exceptions.ActorUnavailableError):
        haz.get(actor.die.remote())
    pid = haz.get(actor.pid.remote())
    shown = state.get_actor(number)
    assert (shown.state, shown.num_restarts, shown.pid) == ("ALIVE", 1, pid)
    with pytest.raises(haz.exceptions.ActorDiedError):
        haz.get(actor.die.remote())
    shown = state.get_actor(number)
    assert (shown.state, shown.num_restarts, shown.pid) == ("DEAD", 1, pid)
    assert shown.death_cause["reason"] == "signal"
    calls = state.list_tasks(filters=[("func_or_class_name", "=", f"{Fragile.__name__}.die")])
    assert calls[0].error_type == "ACTOR_DIED"


def test_an_actor_that_waits_for_resources():
    haz.init(engine="native", num_cpus=1)

    @haz.remote(num_cpus=1)
    class Holder:
        def get(self):
            return 1

    first = Holder.remote()
    assert haz.get(first.get.remote()) == 1
    second = Holder.remote()
    assert state.get_actor(second._actor_id.hex()).state == "PENDING_CREATION"
    third = Holder.options(num_cpus=0).remote()
    assert haz.get(third.get.remote()) == 1
    assert state.summarize_actors()["cluster"]["summary"][Holder.__name__]["state_counts"] == {
        "ALIVE": 2,
        "PENDING_CREATION": 1,
    }


def test_many_entries():
    haz.init(engine="native", num_cpus=2)

    @haz.remote
    def one():
        return 1

    haz.get([one.remote() for _ in range(9000)])
    assert len(state.list_tasks(limit=10_000)) == 8192
    latest = one.remote()
    haz.get(latest)
    assert state.list_tasks(limit=1)[0].task_id == latest.task_id().hex()
    refs = [haz.put(i) for i in range(10_001)]
    with pytest.raises(state.StateApiError, match="10002"):
        state.list_objects()
    with pytest.warns(RuntimeWarning, match="10002"):
        assert len(state.list_objects(limit=3, raise_on_missing_output=False)) == 3
    del refs

    @haz.remote
    def look():
        return len(state.list_tasks(limit=10_000))

    assert haz.get(look.remote()) == 8193
