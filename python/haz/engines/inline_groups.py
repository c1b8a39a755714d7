"""Placement groups of the inline engine: amounts that are counted as taken, and GPUs.

As tasks run at once, also those that would have to wait elsewhere, so is a group reserved at once,
whatever else is in use.
"""

from __future__ import annotations

import threading
from weakref import WeakSet, ref

from haz.engines.inline_objects import Entry
from haz.engines.inline_running import InlineGpus
from haz.exceptions import InfeasibleResourcesError
from haz.util.placement_group import PlacementGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz.engines.base import GroupInfo
    from haz.engines.inline import InlineEngine
    from haz.engines.inline_actors import InlineActor
    from haz.engines.inline_objects import InlineRef

__all__ = ["InlineBundle", "InlineGroup", "InlineGroups"]

_EPSILON = 1e-9


class InlineBundle:
    """One bundle: what it reserves, and its GPUs."""

    def __init__(self, resources: dict[str, float], gpus: list[str]) -> None:
        self.resources = resources
        self.gpus = InlineGpus(gpus)
        self.gpu_names = gpus

    def can_hold(self, resources: dict[str, float]) -> bool:
        """Whether it reserves as much as `resources`."""
        return all(
            amount <= self.resources.get(name, 0.0) + _EPSILON for name, amount in resources.items()
        )


class InlineGroup:
    """A placement group. The engine keeps it until it is removed."""

    def __init__(
        self, name: str, namespace: str, strategy: str, bundles: list[InlineBundle]
    ) -> None:
        self.id = 0
        self.name = name
        self.namespace = namespace
        self.strategy = strategy
        self.bundles = bundles
        self.is_removed = False
        self.entry: Entry | None = None
        self.owner: ref[InlineActor] | None = None
        self.actors: WeakSet[InlineActor] = WeakSet()

    def bundle_for(self, index: int, resources: dict[str, float]) -> InlineBundle | None:
        """The bundle of that index, or any for -1, that can hold `resources`."""
        candidates = self.bundles if index == -1 else self.bundles[index : index + 1]
        return next((bundle for bundle in candidates if bundle.can_hold(resources)), None)


class InlineGroups:
    """The placement groups of an inline engine. Thread-safe."""

    def __init__(self, engine: InlineEngine) -> None:
        self._engine = engine
        self._lock = threading.RLock()
        self._all: dict[int, InlineGroup] = {}

    def create(
        self,
        bundles: list[dict[str, float]],
        strategy: str,
        name: str,
    ) -> InlineRef:
        """See ``create_placement_group`` of :class:`haz.engines.base.Engine`."""
        engine = self._engine
        self._check_feasible(bundles)
        with self._lock:
            namespace = engine.namespace if name else ""
            if name and any(
                (group.name, group.namespace) == (name, namespace) and not group.is_removed
                for group in self._all.values()
            ):
                raise ValueError(
                    f"there is a placement group of the name {name!r}: take another name, or "
                    f"get_placement_group()"
                )
            made = [
                InlineBundle(bundle, engine.gpus.take(bundle.get("GPU", 0.0))) for bundle in bundles
            ]
            group = InlineGroup(name, namespace, strategy, made)
            group.id = engine.new_number()
            group.entry = Entry(engine)
            created = engine.ref_to(group.entry, group.id)
            value = engine.dump(PlacementGroup(created, bundles))
            group.entry.data, group.entry.buffers = value.data, value.buffers
            owner = engine.running_actor()
            if owner is not None:
                group.owner = ref(owner)
            self._all[group.id] = group
        return created

    def _check_feasible(self, bundles: list[dict[str, float]]) -> None:
        totals = self._engine.cluster_resources()
        sums: dict[str, float] = {}
        for bundle in bundles:
            for name, amount in bundle.items():
                sums[name] = sums.get(name, 0.0) + amount
        lacking = [
            f"{amount:g} {name} of {totals.get(name, 0.0):g}"
            for name, amount in sums.items()
            if amount > totals.get(name, 0.0) + _EPSILON
        ]
        if lacking:
            raise InfeasibleResourcesError(
                f"the placement group can never be reserved on this node: its bundles ask for "
                f"{', '.join(lacking)}"
            )

    def remove(self, created: ObjectRef[Any]) -> None:
        """See ``remove_placement_group`` of :class:`haz.engines.base.Engine`."""
        group = self.of(created)
        if group is not None:
            self._remove(group)

    def _remove(self, group: InlineGroup) -> None:
        with self._lock:
            if group.is_removed:
                return
            group.is_removed = True
            entry, group.entry = group.entry, None
            for bundle in group.bundles:
                self._engine.gpus.give_back(bundle.gpu_names, bundle.resources.get("GPU", 0.0))
        if entry is not None:
            entry.drop({"kind": "group_removed"})
        for actor in list(group.actors):
            actor.die("group_removed")
        self._forget()

    def remove_those_of(self, actor: InlineActor) -> None:
        """Remove the groups that `actor`, which has died, has made."""
        for group in list(self._all.values()):
            if group.owner is not None and group.owner() in (actor, None):
                self._remove(group)

    def _forget(self) -> None:
        with self._lock:
            for number, group in list(self._all.items()):
                if group.is_removed and number not in self._engine.entries:
                    del self._all[number]

    def of(self, created: ObjectRef[Any]) -> InlineGroup | None:
        """The group of a ref; None: it was removed, and is forgotten."""
        self._engine.entry_of(created)
        return self._all.get(getattr(created, "id", 0))

    def info(self, created: ObjectRef[Any] | None) -> list[GroupInfo]:
        """See ``placement_groups`` of :class:`haz.engines.base.Engine`."""
        self._forget()
        groups: list[InlineGroup | None] = [self.of(created)] if created is not None else []
        if created is None:
            groups.extend(self._all.values())
        return [
            {
                "ref": self.ref_of(group),
                "name": group.name,
                "namespace": group.namespace,
                "strategy": group.strategy,
                "state": "REMOVED" if group.is_removed else "CREATED",
                "bundles": [dict(bundle.resources) for bundle in group.bundles],
            }
            for group in groups
            if group is not None and group.id in self._engine.entries
        ]

    def ref_of(self, group: InlineGroup) -> InlineRef:
        """A ref of a group whose entry is there."""
        return self._engine.ref_to(self._engine.entries[group.id], group.id)

    def reserved(self) -> Iterator[tuple[str, float]]:
        """What living groups have reserved."""
        for group in list(self._all.values()):
            if not group.is_removed:
                for bundle in group.bundles:
                    yield from bundle.resources.items()
