"""What programs written for Ray import beside the names of haz; for `haz.as_ray`.

What has a meaning here is real. What has none says so when it is used, and what to do instead.
"""

from __future__ import annotations

import enum

from haz._core import ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["MADE", "MISSING", "TOP_LEVEL", "JobConfig", "Language", "LoggingConfig"]


class Language(enum.Enum):
    """Languages of tasks in Ray; those of haz are of Python."""

    PYTHON = 0
    JAVA = 1
    CPP = 2


class JobConfig:
    """Settings of a program, for ``init(job_config=...)``.

    Parameters
    ----------
    runtime_env
        As of ``haz.init``, which takes it unless it is given one of its own.
    ray_namespace
        Likewise its ``namespace``.
    metadata, default_actor_lifetime, jvm_options, code_search_path, client_job
        Accepted and kept; they have no meaning here.
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: Any = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        **others: Any,
    ) -> None:
        self.jvm_options = jvm_options or []
        self.code_search_path = code_search_path or []
        self.runtime_env = runtime_env
        self.metadata = metadata or {}
        self.ray_namespace = ray_namespace
        self.default_actor_lifetime = default_actor_lifetime
        self.__dict__.update(others)

    def set_runtime_env(self, runtime_env: Any, validate: bool = False) -> None:
        """Set the runtime environment; `validate`: check it now."""
        if validate:
            from haz._core.environment import check_runtime_env

            check_runtime_env(runtime_env)
        self.runtime_env = runtime_env

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Set the namespace of named actors."""
        self.ray_namespace = ray_namespace

    def set_metadata(self, key: str, value: str) -> None:
        """Keep a note."""
        self.metadata[key] = value

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Keep the lifetime; that of an actor is given where it is made."""
        self.default_actor_lifetime = default_actor_lifetime

    @classmethod
    def from_json(cls, settings: dict[str, Any]) -> JobConfig:
        """Make one of a dictionary with the names of the parameters."""
        return cls(**settings)


class LoggingConfig:
    """Settings of logs in Ray, for ``init(logging_config=...)``, which ignores them and says so."""

    def __init__(self, encoding: str = "TEXT", log_level: str = "INFO", **others: Any) -> None:
        self.encoding = encoding
        self.log_level = log_level
        self.__dict__.update(others)


# ---- decorators and helpers of Ray's own modules ---------------------------------------------


def _marker(*args: Any, **_kwargs: Any) -> Any:
    """A decorator, with or without arguments, that leaves what it decorates as it is."""
    if len(args) == 1 and not isinstance(args[0], str) and callable(args[0]):
        return args[0]
    return lambda decorated: decorated


_logged: set[str] = set()


def _log_once(key: str) -> bool:
    """Whether this is the first time that `key` is asked for in this process."""
    if key in _logged:
        return False
    _logged.add(key)
    return True


def _reset_log_once(key: str | None = None) -> None:
    """Let `key`, or every one, be new again."""
    if key is None:
        _logged.clear()
    else:
        _logged.discard(key)


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    pass


def _refused(name: str, advice: str) -> Callable[..., Any]:
    def refused(*_args: Any, **_kwargs: Any) -> Any:
        raise NotImplementedError(
            f"ray.{name}: 'ray' stands for haz here (haz.as_ray), which has not got that: {advice}"
        )

    refused.__name__ = refused.__qualname__ = name
    return refused


_PYTHON_ONLY = "its tasks and actors are of Python, run the program on Ray itself"
_NO_CLIENT = "there are no remote clients; ray.init(address='auto') joins a node of this machine"

#: Names of ``ray`` itself.
TOP_LEVEL: dict[str, Any] = {
    **{name: getattr(ids, name) for name in ids.__all__ if name != "BaseID"},
    "Language": Language,
    "LoggingConfig": LoggingConfig,
    "SCRIPT_MODE": 0,
    "WORKER_MODE": 1,
    "LOCAL_MODE": 2,
    "timeline": _refused("timeline", "time the tasks in the program, or run it under a profiler"),
    "client": _refused("client", _NO_CLIENT),
    "ClientBuilder": _refused("ClientBuilder", _NO_CLIENT),
    "java_function": _refused("java_function", _PYTHON_ONLY),
    "java_actor_class": _refused("java_actor_class", _PYTHON_ONLY),
    "cpp_function": _refused("cpp_function", _PYTHON_ONLY),
}

#: Modules of Ray that are made of these names.
MADE: dict[str, dict[str, Any]] = {
    "ray.job_config": {"JobConfig": JobConfig},
    "ray.util.annotations": {
        "Deprecated": _marker,
        "DeveloperAPI": _marker,
        "PublicAPI": _marker,
        "RayDeprecationWarning": DeprecationWarning,
    },
    "ray.util.debug": {
        "disable_log_once_globally": _nothing,
        "enable_periodic_logging": _nothing,
        "log_once": _log_once,
        "reset_log_once": _reset_log_once,
    },
}

_ONE_MACHINE = "haz runs on one machine: leave that out"
_INSIDE = (
    "that is Ray's inside: ray.get_runtime_context() tells ids, and ray.is_initialized() whether "
    "it runs"
)

#: Modules of Ray that haz has not got, with what they contain, and what to do.
MISSING = {
    "ray._private": _INSIDE,
    "ray._raylet": _INSIDE,
    "ray.autoscaler": _ONE_MACHINE + ", there is nothing to scale",
    "ray.client_builder": _NO_CLIENT,
    "ray.cluster_utils": _ONE_MACHINE + ", there is one node",
    "ray.cross_language": _PYTHON_ONLY,
    "ray.experimental": "what Ray calls experimental has no counterpart in haz",
    "ray.job_submission": "run the program itself, by `python program.py`",
    "ray.scripts": "the command of haz is `haz`: see `haz --help`",
    "ray.util.client": _NO_CLIENT,
    "ray.util.state": (
        "there is no list of tasks and objects; ray.util.list_named_actors(), "
        "ray.util.placement_group_table(), ray.nodes() and ray.available_resources() tell what "
        "there is"
    ),
    "ray.util.spark": _ONE_MACHINE,
    "ray.worker": _INSIDE,
}
