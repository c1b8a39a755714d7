"""Values of the option ``scheduling_strategy``: Ray's ``ray.util.scheduling_strategies``.

Besides these there are the strings ``"DEFAULT"`` and ``"SPREAD"``, which mean the same on one
machine: tasks run wherever there is room.
"""

from __future__ import annotations

from haz._core.options import check_bool
from haz.exceptions import InfeasibleResourcesError
from haz.util.placement_group import PlacementGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from haz.engines.base import Engine, Place

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]


class PlacementGroupSchedulingStrategy:
    """Run with resources that a placement group has reserved.

    Parameters
    ----------
    placement_group
        The group. None: run outside of any group, also where the caller's group captures what it
        submits.
    placement_group_bundle_index
        Number of the bundle; -1: any that has room.
    placement_group_capture_child_tasks
        Whether tasks and actors that it submits run in the group, too, in any bundle, unless they
        say otherwise. Default False.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        if placement_group is not None and not isinstance(placement_group, PlacementGroup):
            raise TypeError(
                f"placement_group must be a PlacementGroup or None, not {placement_group!r}"
            )
        index = placement_group_bundle_index
        if isinstance(index, bool) or not isinstance(index, int):
            raise TypeError(f"placement_group_bundle_index must be an integer, not {index!r}")
        if index < -1:
            raise ValueError(
                f"placement_group_bundle_index must be the number of a bundle, or -1 for any, not "
                f"{index}"
            )
        captures = placement_group_capture_child_tasks
        if captures is not None:
            captures = check_bool("placement_group_capture_child_tasks", captures)
        self.placement_group = placement_group
        self.placement_group_bundle_index = index
        self.placement_group_capture_child_tasks = captures

    def __repr__(self) -> str:
        return (
            f"PlacementGroupSchedulingStrategy({self.placement_group!r}, "
            f"{self.placement_group_bundle_index}, {self.placement_group_capture_child_tasks})"
        )

    def _resolve(self, engine: Engine, resources: Mapping[str, float], who: str) -> Place:
        group = self.placement_group
        if group is None or group.is_empty:
            return None, -1, False
        index = self.placement_group_bundle_index
        group._check_room(index, resources, who)
        return group.ready(), index, bool(self.placement_group_capture_child_tasks)


class NodeAffinitySchedulingStrategy:
    """Run on the node of that id: there is one, which ``haz.get_runtime_context()`` names.

    Parameters
    ----------
    node_id
        The id, in hexadecimal.
    soft
        Whether it may run elsewhere if that is not the id of a node. False: the call raises
        InfeasibleResourcesError.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        if not isinstance(node_id, str):
            raise TypeError(f"node_id must be a string, not {node_id!r}")
        self.node_id = node_id
        self.soft = bool(soft)

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy({self.node_id!r}, {self.soft})"

    def _resolve(self, engine: Engine, resources: Mapping[str, float], who: str) -> Place:
        own = engine.context()["node_id"]
        if self.node_id != own and not self.soft:
            raise InfeasibleResourcesError(
                f"{who} is to run on node {self.node_id!r}, and there is only node {own!r}; with "
                f"soft=True it runs there"
            )
        return None, -1, False


class _Condition:
    def __init__(self, *values: str) -> None:
        for value in values:
            if not isinstance(value, str):
                raise TypeError(f"values of labels are strings, not {value!r}")
        self.values = list(values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"

    def _holds(self, value: str | None) -> bool:
        raise NotImplementedError


class In(_Condition):
    """The label is one of `values`."""

    def _holds(self, value: str | None) -> bool:
        return value in self.values


class NotIn(_Condition):
    """The label is none of `values`, or is not there."""

    def _holds(self, value: str | None) -> bool:
        return value not in self.values


class Exists(_Condition):
    """The label is there."""

    def __init__(self) -> None:
        super().__init__()

    def _holds(self, value: str | None) -> bool:
        return value is not None


class DoesNotExist(_Condition):
    """The label is not there."""

    def __init__(self) -> None:
        super().__init__()

    def _holds(self, value: str | None) -> bool:
        return value is None


class NodeLabelSchedulingStrategy:
    """Run on a node with such labels: the one there is has those of ``haz.init(labels=...)``.

    Parameters
    ----------
    hard
        Label to condition (`In`, `NotIn`, `Exists`, `DoesNotExist`). If one doesn't hold the call
        raises InfeasibleResourcesError.
    soft
        Conditions that would be nice to have: with one node they change nothing.
    """

    def __init__(self, hard: dict[str, Any], *, soft: dict[str, Any] | None = None) -> None:
        self.hard = _check_conditions("hard", hard)
        self.soft = _check_conditions("soft", soft or {})
        if not self.hard and not self.soft:
            raise ValueError("NodeLabelSchedulingStrategy needs a condition: hard={label: In(...)}")

    def __repr__(self) -> str:
        return f"NodeLabelSchedulingStrategy({self.hard!r}, soft={self.soft!r})"

    def _resolve(self, engine: Engine, resources: Mapping[str, float], who: str) -> Place:
        labels = engine.context().get("labels") or {}
        for label, condition in self.hard.items():
            if not condition._holds(labels.get(label)):
                raise InfeasibleResourcesError(
                    f"{who} is to run on a node whose label {label!r} is {condition!r}, and the "
                    f"only node has the labels {labels!r}: see haz.init(labels=...)"
                )
        return None, -1, False


def _check_conditions(name: str, given: Any) -> dict[str, _Condition]:
    if not isinstance(given, dict):
        raise TypeError(f"{name} must be a dictionary of labels and conditions, not {given!r}")
    for label, condition in given.items():
        if not isinstance(label, str):
            raise TypeError(f"the keys of {name} are names of labels, not {label!r}")
        if not isinstance(condition, _Condition):
            raise TypeError(
                f"{name}[{label!r}] must be In(...), NotIn(...), Exists() or DoesNotExist(), not "
                f"{condition!r}"
            )
    return dict(given)
