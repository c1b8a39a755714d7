"""Where tasks and actors run: what the options about that may be.

Loaded when the first of them is given.
"""

from __future__ import annotations

from haz._core.labels import Labelled, require
from haz.util.placement_group import PlacementGroup
from haz.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from haz.engines.base import Engine, Place

__all__ = ["check_placement", "resolve"]

_STRATEGIES = (
    PlacementGroupSchedulingStrategy,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
)


def _check_strategy(value: Any) -> Any:
    if isinstance(value, _STRATEGIES) or value in ("DEFAULT", "SPREAD"):
        return value
    kinds = ", ".join(kind.__name__ for kind in _STRATEGIES)
    raise ValueError(
        f"scheduling_strategy must be 'DEFAULT', 'SPREAD' or one of {kinds} of "
        f"haz.util.scheduling_strategies, not {value!r}"
    )


def check_placement(given: Mapping[str, Any], where: str) -> Any:
    """Make one scheduling strategy of the options about placement; None: no such wish.

    Parameters
    ----------
    given
        All keywords of the call.
    where
        How error messages name the place.
    """
    strategy = given.get("scheduling_strategy")
    group = given.get("placement_group", "default")
    index = given.get("placement_group_bundle_index")
    captures = given.get("placement_group_capture_child_tasks")
    has_group = not isinstance(group, str)
    if isinstance(group, str) and group != "default":
        raise TypeError(
            f"{where}: placement_group must be a PlacementGroup or None, not {group!r}: "
            f"haz.util.get_placement_group finds one by its name"
        )
    if strategy is not None:
        if has_group:
            raise ValueError(
                f"{where}: give either scheduling_strategy or placement_group; "
                f"PlacementGroupSchedulingStrategy names a placement group, too"
            )
        return _check_strategy(strategy)
    if not has_group:
        if index is not None and index != -1:
            raise ValueError(f"{where}: placement_group_bundle_index needs a placement_group")
        return None
    if group is not None and not isinstance(group, PlacementGroup):
        raise TypeError(f"{where}: placement_group must be a PlacementGroup or None, not {group!r}")
    return PlacementGroupSchedulingStrategy(group, -1 if index is None else index, captures)


def resolve(
    engine: Engine, strategy: Any, resources: Mapping[str, float], who: str
) -> Place | None:
    """Return where a task or actor is to run, for the engine; None: no such wish.

    Raises
    ------
    InfeasibleResourcesError
        If it can never run there.
    """
    if isinstance(strategy, Labelled):
        require(engine, strategy.selector, strategy.fallbacks, who)
        strategy = strategy.strategy
        if strategy is None:
            return None
    if isinstance(strategy, str):
        return None, -1, False
    place: Place = strategy._resolve(engine, resources, who)
    return place
