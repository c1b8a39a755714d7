"""Placement groups and scheduling strategies, on every engine."""

from __future__ import annotations

import pickle

import haz
import pytest
from haz.exceptions import (
    ActorDiedError,
    InfeasibleResourcesError,
    PlacementGroupRemovedError,
)
from haz.testing import wait_until
from haz.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from haz.util.placement_group import PlacementGroup
from haz.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)


@haz.remote
def where():
    group = get_current_placement_group()
    return None if group is None else group.id


@haz.remote
def nested():
    return haz.get(where.remote())


@haz.remote
class Place:
    def where(self):
        group = get_current_placement_group()
        return None if group is None else group.id

    def nested(self):
        return haz.get(where.remote())

    def gpus(self):
        return haz.get_gpu_ids()


@pytest.fixture
def group(engine_name):
    haz.init(
        engine=engine_name, num_cpus=4, num_gpus=2, resources={"fish": 3}, labels={"zone": "a"}
    )
    return placement_group([{"CPU": 2}, {"CPU": 1, "GPU": 1, "fish": 2}])


def in_group(group, index=-1, captures=False):
    return PlacementGroupSchedulingStrategy(group, index, captures)


def test_a_group_is_reserved_and_ready(group):
    assert group.wait(30) is True
    assert haz.get(group.ready()) == group
    assert group.bundle_count == 2
    assert group.bundle_specs == [{"CPU": 2}, {"CPU": 1, "GPU": 1, "fish": 2}]
    left = haz.available_resources()
    assert (left["CPU"], left["GPU"], left["fish"]) == (1, 1, 1)
    assert haz.cluster_resources()["CPU"] == 4


def test_removing_gives_back(group):
    remove_placement_group(group)
    remove_placement_group(group)
    left = haz.available_resources()
    assert (left["CPU"], left["GPU"], left["fish"]) == (4, 2, 3)
    assert group.wait(5) is False
    assert placement_group_table(group)["state"] == "REMOVED"
    with pytest.raises(PlacementGroupRemovedError, match="was removed"):
        haz.get(group.ready())


def test_tasks_run_in_it(group):
    strategy = in_group(group)
    assert haz.get(where.options(scheduling_strategy=strategy).remote()) == group.id
    assert haz.get(where.options(placement_group=group).remote()) == group.id
    assert haz.get(where.options(placement_group=group, num_cpus=2).remote()) == group.id
    in_second = where.options(placement_group=group, placement_group_bundle_index=1)
    assert haz.get(in_second.remote()) == group.id
    assert haz.get(where.remote()) is None
    assert get_current_placement_group() is None
    assert haz.get(where.options(scheduling_strategy="SPREAD").remote()) is None
    assert haz.get(where.options(scheduling_strategy="DEFAULT").remote()) is None


def test_one_function_serves_many_groups(group):
    for _ in range(5):
        other = placement_group([{"CPU": 1}])
        assert haz.get(where.options(placement_group=other).remote()) == other.id
        remove_placement_group(other)


def test_actors_run_in_it(group):
    place = Place.options(scheduling_strategy=in_group(group, 0)).remote()
    assert haz.get(place.where.remote()) == group.id
    assert haz.get(place.nested.remote()) is None
    assert haz.available_resources()["CPU"] == 1
    remove_placement_group(group)
    with pytest.raises(ActorDiedError, match="placement group was removed") as error:
        haz.get(place.where.remote())
    assert error.value.reason == "group_removed"


def test_capturing_children(group):
    captured = nested.options(scheduling_strategy=in_group(group, captures=True))
    assert haz.get(captured.remote()) == group.id
    assert haz.get(nested.options(scheduling_strategy=in_group(group)).remote()) is None
    place = Place.options(scheduling_strategy=in_group(group, captures=True)).remote()
    assert haz.get(place.nested.remote()) == group.id


def test_children_can_leave(group):
    @haz.remote
    def parent():
        outside = PlacementGroupSchedulingStrategy(placement_group=None)
        return haz.get(
            [
                where.options(scheduling_strategy=outside).remote(),
                where.options(placement_group=None).remote(),
                where.options(scheduling_strategy="DEFAULT").remote(),
            ]
        )

    strategy = in_group(group, captures=True)
    assert haz.get(parent.options(scheduling_strategy=strategy).remote()) == [None, None, None]


def test_a_captured_child_that_is_too_large(group):
    @haz.remote
    def parent():
        return haz.get(where.options(num_cpus=3).remote())

    strategy = in_group(group, captures=True)
    with pytest.raises(InfeasibleResourcesError, match="any bundle of its placement group"):
        haz.get(parent.options(scheduling_strategy=strategy).remote())


def test_the_context_tells(group):
    @haz.remote
    def told():
        context = haz.get_runtime_context()
        return (
            context.get_placement_group_id(),
            context.should_capture_child_tasks_in_placement_group,
        )

    strategy = in_group(group, captures=True)
    assert haz.get(told.options(scheduling_strategy=strategy).remote()) == (group.id, True)
    assert haz.get(told.remote()) == (None, False)
    assert haz.get_runtime_context().get_placement_group_id() is None


def test_handles_pass_into_tasks(group):
    @haz.remote
    def use(handle, handles):
        assert handles["one"] == handle
        ref = where.options(placement_group=handle).remote()
        return handle, haz.get(ref), handle.bundle_specs

    handle, place, specs = haz.get(use.remote(group, {"one": group}))
    assert handle == group
    assert place == group.id
    assert specs == group.bundle_specs
    assert {group: 1}[handle] == 1


def test_a_group_is_made_and_removed_in_a_task(engine_name):
    haz.init(engine=engine_name, num_cpus=4)

    @haz.remote
    def make():
        group = placement_group([{"CPU": 1}], name="inner")
        assert group.wait(30)
        place = haz.get(where.options(placement_group=group).remote())
        assert place == group.id
        return group

    group = haz.get(make.remote())
    assert haz.available_resources()["CPU"] == 3
    assert get_placement_group("inner") == group

    @haz.remote
    def unmake(handle):
        remove_placement_group(handle)
        return handle.wait(0)

    assert haz.get(unmake.remote(group)) is False
    assert haz.available_resources()["CPU"] == 4


def test_gpus_come_from_the_bundle(group):
    @haz.remote(num_gpus=1, num_cpus=0)
    def ids():
        return haz.get_gpu_ids()

    other = placement_group([{"GPU": 1}])
    first = haz.get(ids.options(placement_group=group).remote())
    second = haz.get(ids.options(placement_group=other).remote())
    assert sorted(first + second) == [0, 1]
    place = Place.options(placement_group=group, num_gpus=1).remote()
    assert haz.get(place.gpus.remote()) == first


def test_fractions_of_cpus_and_memory(engine_name):
    haz.init(engine=engine_name, num_cpus=1, _memory=2**30)
    group = placement_group([{"CPU": 0.5, "memory": 2**20}] * 2)
    assert haz.available_resources().get("CPU", 0) == 0
    half = where.options(placement_group=group, num_cpus=0.5, memory=2**20)
    assert haz.get([half.remote() for _ in range(6)]) == [group.id] * 6
    with pytest.raises(InfeasibleResourcesError, match=r"none of the bundles"):
        where.options(placement_group=group, num_cpus=0.6).remote()


def test_names(group):
    named = placement_group([{"CPU": 1}], name="mine")
    assert get_placement_group("mine") == named
    with pytest.raises(ValueError, match="of the name 'mine'"):
        placement_group([{"CPU": 1}], name="mine")
    remove_placement_group(named)
    with pytest.raises(ValueError, match="no placement group of the name 'mine'"):
        get_placement_group("mine")
    assert placement_group([{"CPU": 1}], name="mine") != named


def test_the_table(group):
    table = placement_group_table(group)
    assert table["placement_group_id"] == group.id
    assert table["state"] == "CREATED"
    assert table["strategy"] == "PACK"
    assert table["bundles"] == {0: {"CPU": 2}, 1: {"CPU": 1, "GPU": 1, "fish": 2}}
    node = haz.get_runtime_context().get_node_id()
    assert table["bundles_to_node_id"] == {0: node, 1: node}
    assert placement_group_table() == {group.id: table}


@pytest.mark.parametrize(
    ("bundles", "error"),
    [
        ([], "needs a bundle"),
        ({"CPU": 1}, "must be a list"),
        ([{}], "bundle 0 reserves nothing"),
        ([{"CPU": 1}, {"CPU": 0}], "bundle 1 reserves nothing"),
        ([{"CPU": -1}], "must be 0 or more"),
        ([{"GPU": 1.5}], "must be a whole number"),
        ([{1: 1}], "bundle 0 must be a dictionary"),
        ([{"CPU": 5}], "can never be reserved on this node"),
        ([{"CPU": 3}, {"CPU": 3}], "6 CPU of 4"),
        ([{"whale": 1}], "1 whale of 0"),
    ],
)
def test_bundles_that_can_not_be(group, bundles, error):
    with pytest.raises(ValueError, match=error):
        placement_group(bundles)
    assert haz.available_resources()["CPU"] == 1


def test_strategies_of_groups(engine_name):
    haz.init(engine=engine_name, num_cpus=4)
    for strategy in ("PACK", "SPREAD", "STRICT_PACK"):
        group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy=strategy)
        assert group.wait(30)
        remove_placement_group(group)
    assert placement_group([{"CPU": 1}], strategy="STRICT_SPREAD").wait(30)
    with pytest.raises(InfeasibleResourcesError, match="haz has one node"):
        placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    with pytest.raises(ValueError, match="strategy must be one of"):
        placement_group([{"CPU": 1}], strategy="TIGHT")
    with pytest.raises(ValueError, match="lifetime must be"):
        placement_group([{"CPU": 1}], lifetime="for ever")


def test_what_does_not_fit_errs_at_the_call(group):
    with pytest.raises(InfeasibleResourcesError, match=r"asks for .*'CPU': 3"):
        where.options(placement_group=group, num_cpus=3).remote()
    with pytest.raises(InfeasibleResourcesError, match="bundle 0 of its placement group has"):
        where.options(scheduling_strategy=in_group(group, 0), num_gpus=1).remote()
    with pytest.raises(ValueError, match="in bundle 2 of a placement group"):
        where.options(scheduling_strategy=in_group(group, 2)).remote()
    with pytest.raises(InfeasibleResourcesError, match="actor Place"):
        Place.options(placement_group=group, num_cpus=3).remote()


def test_a_removed_group_runs_nothing(group):
    remove_placement_group(group)
    with pytest.raises(PlacementGroupRemovedError, match="task where has no result"):
        haz.get(where.options(placement_group=group).remote())
    with pytest.raises(ActorDiedError, match="placement group was removed"):
        haz.get(Place.options(placement_group=group).remote().where.remote())


def test_groups_of_an_actor_end_with_it(engine_name):
    haz.init(engine=engine_name, num_cpus=4)

    @haz.remote
    class Maker:
        def make(self):
            self.group = placement_group([{"CPU": 3}])
            return self.group

    maker = Maker.remote()
    group = haz.get(maker.make.remote())
    assert group.wait(30)
    haz.kill(maker)
    with pytest.raises(ActorDiedError):
        haz.get(maker.make.remote())
    wait_until(lambda: placement_group_table(group)["state"] == "REMOVED")
    wait_until(lambda: haz.available_resources()["CPU"] == 4)


def test_options_that_contradict(group):
    with pytest.raises(ValueError, match="either scheduling_strategy or placement_group"):
        where.options(scheduling_strategy="SPREAD", placement_group=group)
    with pytest.raises(ValueError, match="needs a placement_group"):
        where.options(placement_group_bundle_index=1)
    with pytest.raises(ValueError, match="scheduling_strategy must be"):
        where.options(scheduling_strategy="PACKED")
    with pytest.raises(TypeError, match="must be a PlacementGroup"):
        Place.options(placement_group="mine")
    with pytest.raises(TypeError, match="must be a PlacementGroup"):
        PlacementGroupSchedulingStrategy("mine")
    with pytest.raises(ValueError, match="-1 for any"):
        PlacementGroupSchedulingStrategy(group, -2)
    with pytest.raises(ValueError, match="a PlacementGroup is needed"):
        remove_placement_group(PlacementGroup.empty())


def test_node_affinity(engine_name):
    context = haz.init(engine=engine_name, num_cpus=2)
    own = context["node_id"]
    for strategy in (
        NodeAffinitySchedulingStrategy(own, soft=False),
        NodeAffinitySchedulingStrategy("0" * 16, soft=True),
    ):
        assert haz.get(where.options(scheduling_strategy=strategy).remote()) is None
        place = Place.options(scheduling_strategy=strategy).remote()
        assert haz.get(place.where.remote()) is None
    other = NodeAffinitySchedulingStrategy("0" * 16, soft=False)
    with pytest.raises(InfeasibleResourcesError, match="there is only node"):
        where.options(scheduling_strategy=other).remote()

    @haz.remote
    def again():
        mine = NodeAffinitySchedulingStrategy(haz.get_runtime_context().get_node_id(), False)
        return haz.get(where.options(scheduling_strategy=mine).remote())

    assert haz.get(again.remote()) is None


def test_node_labels(group):
    def run(**hard):
        strategy = NodeLabelSchedulingStrategy(hard=hard)
        return haz.get(where.options(scheduling_strategy=strategy).remote())

    assert run(zone=In("a", "b")) is None
    assert run(zone=NotIn("b"), other=DoesNotExist()) is None
    assert run(zone=Exists()) is None
    for condition in (In("b"), NotIn("a"), DoesNotExist()):
        with pytest.raises(InfeasibleResourcesError, match="whose label 'zone'"):
            run(zone=condition)
    soft = NodeLabelSchedulingStrategy(hard={}, soft={"zone": In("b")})
    assert haz.get(where.options(scheduling_strategy=soft).remote()) is None
    with pytest.raises(ValueError, match="needs a condition"):
        NodeLabelSchedulingStrategy(hard={})
    with pytest.raises(TypeError, match=r"must be In\(\.\.\.\)"):
        NodeLabelSchedulingStrategy(hard={"zone": "a"})

    @haz.remote
    def inner():
        return run(zone=In("a"))

    assert haz.get(inner.remote()) is None


def test_label_selectors(group):
    @haz.remote
    class Actor:
        def get(self):
            return 1

    def run(selector, **options):
        options["label_selector"] = selector
        actor = Actor.options(**options).remote()
        assert haz.get(where.options(**options).remote()) is None
        assert haz.get(actor.get.remote()) == 1

    node_id = haz.get_runtime_context().get_node_id()
    for selector in (
        {"zone": "a"},
        {"zone": "!b", "other": "!x"},
        {"zone": "in(b, a)"},
        {"zone": "!in(b,c)"},
        {"ray.io/node-id": node_id},
        {},
    ):
        run(selector)
    for selector in ({"zone": "b"}, {"zone": "!a"}, {"zone": "in(b)"}, {"other": "x"}):
        with pytest.raises(InfeasibleResourcesError, match="the only node has the labels"):
            run(selector)
        with pytest.raises(InfeasibleResourcesError):
            Actor.options(label_selector=selector).remote()
    fallback = [{"label_selector": {"zone": "c"}}, {"label_selector": {"zone": "a"}}]
    run({"zone": "b"}, fallback_strategy=fallback)
    with pytest.raises(InfeasibleResourcesError, match=r"In\('b'\), or else where 'zone'"):
        run({"zone": "b"}, fallback_strategy=fallback[:1])

    @haz.remote(label_selector={"zone": "b"})
    def elsewhere():
        return haz.get(where.options(label_selector={"zone": "a"}).remote())

    with pytest.raises(InfeasibleResourcesError):
        elsewhere.options(scheduling_strategy="SPREAD").remote()
    assert haz.get(elsewhere.options(label_selector={"zone": "a"}).remote()) is None
    selected = where.options(label_selector={"zone": "a"}, scheduling_strategy=in_group(group))
    assert haz.get(selected.remote()) == group.id


def test_labels_of_bundles(engine_name):
    haz.init(engine=engine_name, num_cpus=2, labels={"zone": "a"})
    zones = [{"zone": "a"}, {}]
    group = placement_group([{"CPU": 1}, {"CPU": 1}], bundle_label_selector=zones)
    assert group.wait(60)
    remove_placement_group(group)
    with pytest.raises(InfeasibleResourcesError, match="bundle 1 is to run on a node where"):
        placement_group([{"CPU": 1}, {"CPU": 1}], bundle_label_selector=[{}, {"zone": "b"}])
    for nonsense in ([{}], {"zone": "a"}, 5):
        with pytest.raises(ValueError, match="a dictionary for each of the 2 bundles"):
            placement_group([{"CPU": 1}, {"CPU": 1}], bundle_label_selector=nonsense)


def test_handles_outlive_haz(group):
    haz.shutdown()
    assert group.bundle_count == 2
    remove_placement_group(group)
    with pytest.raises(haz.exceptions.ObjectLostError):
        group.wait(0)


def test_an_empty_group():
    empty = PlacementGroup.empty()
    assert empty.is_empty
    assert empty == pickle.loads(pickle.dumps(empty))
    assert empty.bundle_specs == []


def test_free_does_nothing_to_a_group(engine):
    group = placement_group([{"CPU": 1}])
    ref = group.ready()
    haz.get(ref)
    haz.free([ref])
    assert haz.get([ref, group.ready()]) == [group, group]
    assert group.wait(10)
    remove_placement_group(group)
