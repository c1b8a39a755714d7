"""Helpers on top of tasks and actors: Ray's ``ray.util``, where it has a meaning on one machine.

Each name is loaded when it is first used. Besides the names here there are the modules
`haz.util.queue`, `haz.util.actor_group`, `haz.util.metrics`, `haz.util.multiprocessing` and
`haz.util.joblib`.
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

_HOME = {
    "ActorPool": "haz.util.actor_pool",
    "as_completed": "haz.util.completion",
    "deregister_serializer": "haz._core.serialize",
    "inspect_serializability": "haz.util.check_serialize",
    "list_named_actors": "haz.util.named_actors",
    "map_unordered": "haz.util.completion",
    "register_serializer": "haz._core.serialize",
}

_MODULES = (
    "actor_group",
    "actor_pool",
    "check_serialize",
    "joblib",
    "metrics",
    "multiprocessing",
    "queue",
)

__all__ = [*_HOME]


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
