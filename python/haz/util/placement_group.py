"""Placement groups: resources that are reserved together, for tasks and actors to run with.

Ray's ``ray.util.placement_group``. The module itself can be called like its function
`placement_group`, so that ``haz.util.placement_group(...)`` works as well as
``from haz.util.placement_group import placement_group``.
"""

from __future__ import annotations

import sys
from types import ModuleType

from haz._core.runtime import runtime
from haz.exceptions import (
    GetTimeoutError,
    InfeasibleResourcesError,
    ObjectLostError,
    PlacementGroupRemovedError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz.engines.base import Engine, GroupInfo

__all__ = [
    "PlacementGroup",
    "PlacementGroupID",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]

_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_EPSILON = 1e-9


class PlacementGroupID(str):
    """The id of a placement group: hexadecimal text, with Ray's methods."""

    __slots__ = ()

    def hex(self) -> str:
        """Return it as 32 hexadecimal digits."""
        return str(self)

    def binary(self) -> bytes:
        """Return it as 16 bytes."""
        return bytes.fromhex(self)


class PlacementGroup:
    """A handle of a placement group: equal, hashed and passed to tasks by what it stands for.

    Handles do not keep a group: it lives until `remove_placement_group`, the end of the actor that
    made it, or ``haz.shutdown()``.
    """

    __slots__ = ("_bundles", "_ref")

    def __init__(
        self, ref: ObjectRef[Any] | None, bundles: list[dict[str, float]] | None = None
    ) -> None:
        self._ref = ref
        self._bundles = bundles

    @staticmethod
    def empty() -> PlacementGroup:
        """Return what stands for no group."""
        return PlacementGroup(None, [])

    @property
    def is_empty(self) -> bool:
        """Whether it stands for no group."""
        return self._ref is None

    @property
    def id(self) -> PlacementGroupID:
        """Its id."""
        return PlacementGroupID("" if self._ref is None else self._ref.hex())

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle reserves."""
        if self._bundles is None:
            info = _info_of(self)
            self._bundles = [] if info is None else info["bundles"]
        return [dict(bundle) for bundle in self._bundles]

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self.bundle_specs)

    def ready(self) -> ObjectRef[PlacementGroup]:
        """Return a ref that is ready when all bundles are reserved; its value is the group.

        Once the group is removed the ref raises PlacementGroupRemovedError.
        """
        if self._ref is None:
            raise ValueError("this stands for no placement group")
        return self._ref

    def wait(self, timeout_seconds: float | None = 30) -> bool:
        """Wait until the bundles are reserved.

        Parameters
        ----------
        timeout_seconds
            How long; None: as long as it takes.

        Returns
        -------
        bool
            Whether they are; False if the time is over, or the group was removed.
        """
        from haz._core.api import get

        try:
            get(self.ready(), timeout=timeout_seconds)
        except (GetTimeoutError, PlacementGroupRemovedError):
            return False
        return True

    def _check_room(self, index: int, resources: Mapping[str, float], who: str) -> None:
        """Raise unless bundle `index`, or for -1 any, can hold `resources`."""
        bundles = self.bundle_specs
        if not bundles:
            return  # it was removed: the call says so
        if index >= len(bundles):
            raise ValueError(
                f"{who} is to run in bundle {index} of a placement group that has the bundles 0 "
                f"to {len(bundles) - 1}"
            )
        asked = {name: amount for name, amount in resources.items() if amount}
        for bundle in bundles if index == -1 else bundles[index : index + 1]:
            if all(amount <= bundle.get(n, 0.0) + _EPSILON for n, amount in asked.items()):
                return
        where = f"bundle {index} of its placement group" if index != -1 else "none of the bundles"
        shown = bundles[index] if index != -1 else bundles
        raise InfeasibleResourcesError(
            f"{who} asks for {asked}, and {where} can ever give that: {shown}"
            if index == -1
            else f"{who} asks for {asked}, and {where} has {shown}"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and bool(other._ref == self._ref)

    def __hash__(self) -> int:
        return hash(self._ref)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id})" if self._ref is not None else "PlacementGroup.empty()"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self._ref, self._bundles)


def _info_of(group: PlacementGroup) -> GroupInfo | None:
    engine = runtime.engine
    if engine is None or group._ref is None:
        return None
    try:
        found = engine.placement_groups(group._ref)
    except ObjectLostError:
        return None
    return found[0] if found else None


# ---- making and removing -----------------------------------------------------------------------


def _check_bundles(bundles: Any) -> list[dict[str, float]]:
    from haz._core.options import check_amount, check_memory, check_num_gpus

    if not isinstance(bundles, (list, tuple)):
        raise ValueError(f"bundles must be a list of dictionaries, not {bundles!r}")
    if not bundles:
        raise ValueError("a placement group needs a bundle: [{'CPU': 1}]")
    checks = {"GPU": check_num_gpus, "memory": check_memory}
    checked = []
    for place, bundle in enumerate(bundles):
        if not isinstance(bundle, dict) or not all(isinstance(n, str) and n for n in bundle):
            raise ValueError(
                f"bundle {place} must be a dictionary of names and amounts, not {bundle!r}"
            )
        amounts = {
            name: checks.get(name, check_amount)(f"bundle {place}: {name}", amount)
            for name, amount in bundle.items()
        }
        amounts = {name: amount for name, amount in amounts.items() if amount}
        if not amounts:
            raise ValueError(f"bundle {place} reserves nothing: {bundle!r}")
        checked.append(amounts)
    return checked


def _check_labels(engine: Engine, selectors: Any, bundle_count: int) -> None:
    from haz._core.labels import check_selector, require

    if not isinstance(selectors, (list, tuple)) or len(selectors) != bundle_count:
        raise ValueError(
            f"bundle_label_selector must be a list of a dictionary for each of the {bundle_count} "
            f"bundles, not {selectors!r}"
        )
    for place, selector in enumerate(selectors):
        conditions = check_selector(f"bundle_label_selector[{place}]", selector)
        require(engine, conditions, [], f"bundle {place}")


def placement_group(
    bundles: Sequence[dict[str, float]],
    strategy: str = "PACK",
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
) -> PlacementGroup:
    """Reserve bundles of resources, all or nothing; return the group at once.

    Parameters
    ----------
    bundles
        What each bundle reserves, name to amount: ``[{"CPU": 1, "GPU": 0.5}, {"CPU": 2}]``. Also
        ``memory``, in bytes, and custom resources.
    strategy
        How the bundles lie on nodes: "PACK", "SPREAD", "STRICT_PACK" mean the same on one machine.
        "STRICT_SPREAD" wants a node for each bundle, so that only one bundle is possible.
    name
        A name for `get_placement_group`. Default: none.
    lifetime
        "non_detached", or "detached": it outlives the program and lives until it is removed, which
        needs a node that does (``haz start``); other programs find it by its name. Default: until
        it is removed, or the actor that made it or the program ends.
    bundle_label_selector
        For each bundle, conditions on the labels of its node, as the option `label_selector` of
        tasks. Default: none.

    Raises
    ------
    InfeasibleResourcesError
        If the node can never give all of it, or has other labels: Ray would wait for ever.
    ValueError
        For bundles that reserve nothing, an unknown strategy, a name in use; for a detached group
        on a node that ends with the program.

    Notes
    -----
    A group waits until its resources are free all at once. Groups and tasks that came later then
    make way for it, some of the time.

    Examples
    --------
    >>> group = haz.util.placement_group([{"CPU": 1}])
    >>> haz.get(group.ready()) == group
    True
    >>> haz.util.remove_placement_group(group)
    """
    from haz._core.actor_options import check_lifetime
    from haz._core.options import CHECKS

    checked = _check_bundles(bundles)
    if strategy not in _STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(_STRATEGIES)}, not {strategy!r}")
    if strategy == "STRICT_SPREAD" and len(checked) > 1:
        raise InfeasibleResourcesError(
            f"STRICT_SPREAD wants each of the {len(checked)} bundles on a node of its own, and haz "
            f"has one node: with 'SPREAD' they can share it"
        )
    if lifetime is not None:
        check_lifetime(lifetime)
    engine = runtime.ensure()
    if bundle_label_selector:
        _check_labels(engine, bundle_label_selector, len(checked))
    return PlacementGroup(
        engine.create_placement_group(
            checked,
            strategy,
            CHECKS["name"](name or ""),
            lifetime == "detached",
        ),
        checked,
    )


def _check_group(group: Any) -> PlacementGroup:
    if not isinstance(group, PlacementGroup) or group.is_empty:
        raise ValueError(f"a PlacementGroup is needed, not {group!r}")
    return group


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give up what a placement group has reserved.

    Its tasks end with PlacementGroupRemovedError, those that run in the middle of what they do, and
    its actors die: calls raise ActorDiedError. Nothing happens where it was removed before.

    Parameters
    ----------
    placement_group
        The group.
    """
    ref = _check_group(placement_group).ready()
    engine = runtime.engine
    if engine is not None:
        engine.remove_placement_group(ref)


# ---- finding -----------------------------------------------------------------------------------


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """Return the placement group of that name in the caller's namespace.

    Raises
    ------
    ValueError
        If there is none, or it was removed.
    """
    if not isinstance(placement_group_name, str) or not placement_group_name:
        raise ValueError(f"the name of a placement group is needed, not {placement_group_name!r}")
    engine = runtime.ensure()
    namespace = engine.context()["namespace"]
    for info in engine.placement_groups(None):
        is_named = (info["name"], info["namespace"]) == (placement_group_name, namespace)
        if is_named and info["state"] != "REMOVED":
            return PlacementGroup(info["ref"], info["bundles"])
    raise ValueError(
        f"there is no placement group of the name {placement_group_name!r}, or it was removed: see "
        f"haz.util.placement_group_table()"
    )


def get_current_placement_group() -> PlacementGroup | None:
    """Return the group in which the calling task or actor runs; None: in none."""
    engine = runtime.engine
    found = None if engine is None else engine.current_placement_group()
    return None if found is None else PlacementGroup(found[0])


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Return the state of a placement group, or of all by their id: Ray's keys.

    ``state`` is "PENDING", "CREATED" or "REMOVED". Removed groups are shown while there are handles.
    """
    engine = runtime.ensure()
    ref = None if placement_group is None else _check_group(placement_group).ready()
    node_id = str(engine.context()["node_id"])
    shown = {
        info["ref"].hex(): _shown(info, info["ref"].hex(), node_id)
        for info in engine.placement_groups(ref)
    }
    return shown if ref is None else shown.get(ref.hex(), {})


def _shown(info: GroupInfo, group_id: str, node_id: str) -> dict[str, Any]:
    is_created = info["state"] == "CREATED"
    return {
        "placement_group_id": group_id,
        "name": info["name"],
        "bundles": dict(enumerate(info["bundles"])),
        "bundles_to_node_id": dict.fromkeys(
            range(len(info["bundles"])), node_id if is_created else ""
        ),
        "strategy": info["strategy"],
        "state": info["state"],
        "stats": {"scheduling_state": "FINISHED" if is_created else info["state"]},
    }


class _CallableModule(ModuleType):
    """Importing this module makes it an attribute of `haz.util`, where the function should be."""

    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        return placement_group(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions that use it are pickled with it, and picklers know plain modules only.
        return _this_module, ()


def _this_module() -> ModuleType:
    return sys.modules[__name__]


sys.modules[__name__].__class__ = _CallableModule
