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


def _show_in_dashboard(message: str, key: str = "", dtype: str = "text") -> None:
    from haz._core.runtime import runtime

    runtime.warn_once(
        "show_in_dashboard", "haz has no dashboard, which ray.show_in_dashboard is for"
    )


def _free(object_refs: Any, local_only: bool = False) -> None:
    import haz

    haz.free(object_refs, local_only=local_only)


def _of_dask(name: str) -> Any:
    """A name of ``ray.util.dask``: dask's collections on Ray, here by `haz.dask`."""
    if name in ("ray_dask_get", "ray_dask_get_sync"):
        import haz.dask

        return haz.dask.get
    if name == "enable_dask_on_ray":

        def enable(**_options: Any) -> Any:
            """Let dask compute on haz; what it returns ends that, as a context manager does."""
            import dask

            import haz.dask

            return dask.config.set(scheduler=haz.dask.get)

        return enable
    if name == "disable_dask_on_ray":

        def disable() -> Any:
            """Let dask compute as by itself."""
            import dask

            return dask.config.set(scheduler=None)

        return disable
    raise AttributeError(f"module 'ray.util.dask' has no attribute {name!r}")


_PYTHON_ONLY = "it has no tasks and actors of Java, run the program on Ray itself"
_OF_LIBRARIES = "use haz.{}(library, name), which takes the library too"
_NO_CLIENT = "there are no remote clients; ray.init(address='auto') joins a node of this machine"

#: Values of Ray's option `accelerator_type`, which names the kind of a node's accelerator.
_ACCELERATORS = {
    "NVIDIA_TESLA_V100": "V100",
    "NVIDIA_TESLA_P100": "P100",
    "NVIDIA_TESLA_T4": "T4",
    "NVIDIA_TESLA_P4": "P4",
    "NVIDIA_TESLA_K80": "K80",
    "NVIDIA_TESLA_A10G": "A10G",
    "NVIDIA_L4": "L4",
    "NVIDIA_L40S": "L40S",
    "NVIDIA_A100": "A100",
    "NVIDIA_A100_40G": "A100-40G",
    "NVIDIA_A100_80G": "A100-80G",
    "NVIDIA_H100": "H100",
    "NVIDIA_H200": "H200",
    "NVIDIA_H20": "H20",
    "NVIDIA_B200": "B200",
    "INTEL_MAX_1550": "Intel-GPU-Max-1550",
    "INTEL_MAX_1100": "Intel-GPU-Max-1100",
    "INTEL_GAUDI": "Intel-GAUDI",
    "AMD_INSTINCT_MI100": "AMD-Instinct-MI100",
    "AMD_INSTINCT_MI210": "AMD-Instinct-MI210",
    "AMD_INSTINCT_MI250": "AMD-Instinct-MI250X-MI250",
    "AMD_INSTINCT_MI300X": "AMD-Instinct-MI300X-OAM",
    "AWS_NEURON_CORE": "aws-neuron-core",
    "GOOGLE_TPU_V2": "TPU-V2",
    "GOOGLE_TPU_V3": "TPU-V3",
    "GOOGLE_TPU_V4": "TPU-V4",
    "GOOGLE_TPU_V5P": "TPU-V5P",
    "GOOGLE_TPU_V5LITEPOD": "TPU-V5LITEPOD",
    "GOOGLE_TPU_V6E": "TPU-V6E",
    "HUAWEI_NPU_910B": "Ascend910B",
}

#: Names of ``ray`` itself.
TOP_LEVEL: dict[str, Any] = {
    **{name: getattr(ids, name) for name in ids.__all__ if name != "BaseID"},
    "Language": Language,
    "LoggingConfig": LoggingConfig,
    "SCRIPT_MODE": 0,
    "WORKER_MODE": 1,
    "LOCAL_MODE": 2,
    "show_in_dashboard": _show_in_dashboard,
    "client": _refused("client", _NO_CLIENT),
    "ClientBuilder": _refused("ClientBuilder", _NO_CLIENT),
    "java_function": _refused("java_function", _PYTHON_ONLY),
    "java_actor_class": _refused("java_actor_class", _PYTHON_ONLY),
    "cpp_function": _refused("cpp_function", _OF_LIBRARIES.format("cpp_function")),
    "cpp_actor_class": _refused("cpp_actor_class", _OF_LIBRARIES.format("cpp_class")),
}

#: Modules of Ray that are made of these names.
MADE: dict[str, dict[str, Any]] = {
    "ray.job_config": {"JobConfig": JobConfig},
    "ray.internal": {"free": _free},
    "ray._private.internal_api": {"free": _free},
    "ray.util.accelerators": dict(_ACCELERATORS),
    "ray.util.dask": {"__getattr__": _of_dask},
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

_IN_PROCESS = (
    "run the program with HAZ_ENGINE=inline in its environment, and use breakpoint(): its tasks "
    "run in the program's own process then"
)
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
    "ray.cross_language": "of other languages haz has C++: haz.cpp_function and haz.cpp_class",
    "ray.experimental": "of what Ray calls experimental haz has ray.experimental.tqdm_ray",
    "ray.job_submission": "run the program itself, by `python program.py`",
    "ray.scripts": "the command of haz is `haz`: see `haz --help`",
    "ray.util.client": _NO_CLIENT,
    "ray.util.collective": (
        "on one machine actors pass arrays as refs, which are not copied; between GPUs "
        "torch.distributed works in actors as in any processes"
    ),
    "ray.util.debugpy": _IN_PROCESS,
    "ray.util.iter": "a generator function that is remote streams its items",
    "ray.util.pdb": _IN_PROCESS,
    "ray.util.rpdb": _IN_PROCESS,
    "ray.util.tpu": _ONE_MACHINE,
    "ray.util.spark": _ONE_MACHINE,
    "ray.worker": _INSIDE,
}
