"""Helpers on top of tasks and actors: Ray's ``ray.util``, where it has a meaning on one machine.

Each name is loaded when it is first used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from haz.util.named_actors import list_named_actors as list_named_actors

_HOME = {
    "list_named_actors": "haz.util.named_actors",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'haz.util' has no attribute {name!r}")
    value = getattr(__import__(home, fromlist=[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
