"""Helpers on top of tasks and actors: Ray's ``ray.util``, where it has a meaning on one machine.

Each name is loaded when it is first used. Besides the names here there are the modules
`haz.util.queue`, `haz.util.actor_group`, `haz.util.metrics`, `haz.util.multiprocessing`,
`haz.util.joblib`, `haz.util.scheduling_strategies` and `haz.util.state`.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from haz._core.serialize import deregister_serializer as deregister_serializer
    from haz._core.serialize import register_serializer as register_serializer
    from haz.util.actor_pool import ActorPool as ActorPool
    from haz.util.check_serialize import inspect_serializability as inspect_serializability
    from haz.util.completion import as_completed as as_completed
    from haz.util.completion import map_unordered as map_unordered
    from haz.util.named_actors import list_named_actors as list_named_actors
    from haz.util.placement_group import (
        get_current_placement_group as get_current_placement_group,
    )
    from haz.util.placement_group import get_placement_group as get_placement_group
    from haz.util.placement_group import placement_group as placement_group
    from haz.util.placement_group import placement_group_table as placement_group_table
    from haz.util.placement_group import remove_placement_group as remove_placement_group

_HOME = {
    "ActorPool": "haz.util.actor_pool",
    "as_completed": "haz.util.completion",
    "deregister_serializer": "haz._core.serialize",
    "get_current_placement_group": "haz.util.placement_group",
    "get_placement_group": "haz.util.placement_group",
    "inspect_serializability": "haz.util.check_serialize",
    "list_named_actors": "haz.util.named_actors",
    "map_unordered": "haz.util.completion",
    "placement_group_table": "haz.util.placement_group",
    "register_serializer": "haz._core.serialize",
    "remove_placement_group": "haz.util.placement_group",
}

_MODULES = (
    "actor_group",
    "actor_pool",
    "check_serialize",
    "joblib",
    "metrics",
    "multiprocessing",
    "placement_group",  # which is the function of that name, too
    "queue",
    "scheduling_strategies",
    "state",
)

__all__ = [*_HOME, "placement_group"]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is not None:
        value = getattr(__import__(home, fromlist=[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return __import__(f"haz.util.{name}", fromlist=["__name__"])
    raise AttributeError(f"module 'haz.util' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
