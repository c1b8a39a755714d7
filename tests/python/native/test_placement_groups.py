"""Placement groups where others run at the same time: waiting for room, deaths, what is told."""

from __future__ import annotations

import gc
import os
import re
import signal
import time

import haz
import pytest
from haz._core.runtime import runtime
from haz.exceptions import ActorDiedError, GetTimeoutError, PlacementGroupRemovedError
from haz.testing import wait_until
from haz.util import (
    get_current_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from haz.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@haz.remote
def hold(gate, running=None):
    if running is not None:
        running.open()
    gate.wait()
    return os.getpid()


@haz.remote
class Holder:
    def pid(self):
        return os.getpid()

    def group(self):
        group = get_current_placement_group()
        return None if group is None else group.id

    def make(self, bundles):
        self.made = placement_group(bundles)
        return self.made

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


def cpus():
    return haz.available_resources().get("CPU", 0)


def test_a_group_waits_for_room(node, gate):
    task = hold.options(num_cpus=2).remote(gate(), gate("running"))
    gate("running").wait()
    group = placement_group([{"CPU": 1}, {"CPU": 1}])
    assert group.wait(0.2) is False
    assert placement_group_table(group)["state"] == "PENDING"
    with pytest.raises(GetTimeoutError):
        haz.get(group.ready(), timeout=0.1)
    inside = hold.options(placement_group=group).remote(gate())
    assert haz.wait([inside], timeout=0.1)[0] == []
    gate().open()
    assert group.wait(60) is True
    assert haz.get([task, inside])
    remove_placement_group(group)
    wait_until(lambda: cpus() == 2)


def test_a_task_waits_for_a_group(node, gate):
    @haz.remote
    def use(group):
        return group.bundle_specs

    first = placement_group([{"CPU": 2}])
    second = placement_group([{"CPU": 1}])
    used = use.remote(second.ready())
    assert haz.wait([used], timeout=0.2)[0] == []
    remove_placement_group(first)
    assert haz.get(used) == [{"CPU": 1}]


def test_a_group_is_removed_while_it_waits(node, gate):
    first = placement_group([{"CPU": 2}])
    second = placement_group([{"CPU": 1}])
    inside = hold.options(placement_group=second).remote(gate())
    actor = Holder.options(placement_group=second).remote()
    remove_placement_group(second)
    with pytest.raises(PlacementGroupRemovedError):
        haz.get(second.ready())
    with pytest.raises(PlacementGroupRemovedError, match="task hold"):
        haz.get(inside)
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        haz.get(actor.pid.remote())
    assert second.wait(0) is False
    remove_placement_group(first)
    assert cpus() == 2


def test_removal_ends_what_runs(node, gate):
    group = placement_group([{"CPU": 1}])
    actor = Holder.options(placement_group=group).remote()
    pid = haz.get(actor.pid.remote())
    running = hold.options(placement_group=group).remote(gate(), gate("running"))
    queued = hold.options(placement_group=group).remote(gate())
    gate("running").wait()
    remove_placement_group(group)
    for ref in (running, queued):
        with pytest.raises(PlacementGroupRemovedError, match="its placement group was removed"):
            haz.get(ref)
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        haz.get(actor.pid.remote())
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    wait_until(lambda: cpus() == 2)
    gate().open()
    assert haz.get(hold.remote(gate())), "the node goes on"


def test_tasks_of_a_killed_worker_run_again_in_their_group(node, gate):
    group = placement_group([{"CPU": 1}])

    @haz.remote(max_retries=1)
    def fragile(gate):
        if not gate.is_open():
            gate.open()
            os.kill(os.getpid(), signal.SIGKILL)
        return get_current_placement_group().id

    assert haz.get(fragile.options(placement_group=group).remote(gate())) == group.id
    assert cpus() == 1


def test_an_actor_is_restarted_in_its_group(node):
    group = placement_group([{"CPU": 1}])
    actor = Holder.options(placement_group=group, num_cpus=1, max_restarts=1).remote()
    before = haz.get(actor.pid.remote())
    actor.die.remote()
    wait_until(lambda: not os.path.exists(f"/proc/{before}"))
    assert haz.get(actor.group.options(max_task_retries=-1).remote()) == group.id
    assert cpus() == 1


def test_groups_end_with_the_actor_whose_process_is_killed(node):
    maker = Holder.options(num_cpus=0).remote()
    group = haz.get(maker.make.remote([{"CPU": 2}]))
    inside = Holder.options(placement_group=group).remote()
    haz.get(inside.pid.remote())
    assert cpus() == 0
    os.kill(haz.get(maker.pid.remote()), signal.SIGKILL)
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        while True:
            haz.get(inside.pid.remote())
            time.sleep(0.01)
    wait_until(lambda: cpus() == 2)


def test_a_blocked_task_lets_its_captured_children_run(node):
    group = placement_group([{"CPU": 1}])

    @haz.remote
    def count(depth):
        return 1 + haz.get(count.remote(depth - 1)) if depth else 1

    strategy = PlacementGroupSchedulingStrategy(group, 0, True)
    assert haz.get(count.options(scheduling_strategy=strategy).remote(10)) == 11


def test_many_groups_leave_nothing(node):
    for _ in range(200):
        group = placement_group([{"CPU": 0.5}, {"CPU": 1}])
        assert group.wait(0) is True
        remove_placement_group(group)
    pending = [placement_group([{"CPU": 2}]) for _ in range(50)]
    for group in pending:
        remove_placement_group(group)
    del group, pending
    gc.collect()
    wait_until(lambda: placement_group_table() == {})
    state = runtime.engine.snapshot()
    assert state["placement_groups"] == 0
    assert cpus() == 2


def test_functions_and_classes_are_registered_once(node):
    engine = runtime.engine
    before = len(engine._registered)
    groups = [placement_group([{"CPU": 0.1}]) for _ in range(4)]
    for n, group in enumerate(groups):
        actor = Holder.options(num_cpus=0, name=f"holder {n}", placement_group=group).remote()
        assert haz.get(actor.group.remote()) == group.id
        haz.get(hold.options(num_cpus=0, placement_group=group).remote(_Open()))
    # The class, its method and the function.
    assert len(engine._registered) == before + 3


class _Open:
    def wait(self):
        pass


def test_an_actor_knows_its_name(node):
    @haz.remote
    class Named:
        def name(self):
            return haz.get_runtime_context().get_actor_name()

    named = Named.options(name="first").remote()
    assert haz.get(named.name.remote()) == "first"
    assert haz.get(Named.remote().name.remote()) == ""


def test_driver_threads_make_and_remove_groups(node):
    from concurrent.futures import ThreadPoolExecutor

    def churn(_):
        for _ in range(30):
            group = placement_group([{"CPU": 1}])
            group.wait(60)
            remove_placement_group(group)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert cpus() == 2


def test_who_waits_for_long_is_told_why(run_program):
    done = run_program(
        """
        import time
        import haz
        from haz.util import placement_group

        haz.init(num_cpus=2)

        @haz.remote(num_cpus=2)
        class Holder:
            def ping(self):
                return 1

        first = Holder.options(name="first").remote()
        haz.get(first.ping.remote())
        second = Holder.remote()
        group = placement_group([{"CPU": 1}], name="mine")

        @haz.remote
        def small():
            pass

        refs = [small.remote(), small.remote()]
        time.sleep(13)
        haz.shutdown()
        """
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("(haz) ")]
    assert len(told) == 3, done.stderr
    task = r"task small, as 1 more, has waited for more than 5 s: it needs 1 CPU \(0 of 2 are free"
    assert any(re.search(task, line) for line in told), told
    actor = r"actor Holder.* has waited for more than 5 s: it needs 2 CPU \(0 of 2 are free, actors"
    assert any(re.search(actor, line) for line in told), told
    assert any("placement group 'mine' has waited" in line for line in told), told
