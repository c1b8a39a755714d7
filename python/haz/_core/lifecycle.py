"""Start and end of the default runtime: ``haz.init``, ``haz.shutdown``, ``haz.is_initialized``."""

from __future__ import annotations

import os

from haz._core.checks import shown
from haz._core.options import (
    MOST,
    check_amount,
    check_bool,
    check_int,
    check_memory,
    check_namespace,
    check_resources,
    check_str,
    check_str_dict,
    unknown_keyword,
)
from haz._core.options import runtime_env as check_runtime_env
from haz._core.runtime import ENGINES, runtime
from haz.engines.base import InitOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from haz._core.context import HazContext

__all__ = [
    "check_node_options",
    "init",
    "is_initialized",
    "num_cpus_of_environment",
    "shutdown",
]

_LEVELS = {"critical": 50, "error": 40, "warning": 30, "warn": 30, "info": 20, "debug": 10}

#: Ray's hidden arguments that its documentation names. They have no meaning here.
_HIDDEN = frozenset(
    (
        "_driver_object_store_memory",
        "_enable_object_reconstruction",
        "_metrics_export_port",
        "_node_ip_address",
        "_node_name",
        "_plasma_directory",
        "_redis_password",
        "_redis_username",
        "_system_config",
        "_temp_dir",
        "_tracing_startup_hook",
        "object_spilling_directory",
    )
)


#: Each has a name of its own; more than this is a slip of the pen.
_MOST_GPUS = 65536
_MOST_BYTES = 2**49  # a quarter of what a process can address
_LEAST_STORE_BYTES = 1_000_000  # each worker keeps some of it


def init(
    address: str | None = None,
    *,
    num_cpus: int | None = None,
    num_gpus: int | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: int | str = 20,
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Any = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    engine: str | None = None,
    preload: Sequence[str] | None = None,
    _memory: int | None = None,
    **kwargs: Any,
) -> HazContext:
    """Start haz. The first ``.remote()`` or ``put`` does this too, with the defaults.

    Parameters
    ----------
    address
        Of a long-lived node to join (``haz start``): ``"auto"``, the one that the environment
        variable ``HAZ_ADDRESS`` names, else the default one; or its name; or the path of its
        socket. ``"local"``: a node of this program's own. Default: ``HAZ_ADDRESS``, else
        ``"local"``. What is the node's own, as `num_cpus`, can't be given then.
    num_cpus
        Number of CPU slots: tasks of one CPU that run at a time. Default: the environment variable
        ``HAZ_NUM_CPUS``, else what the machine or its cgroup gives.
    num_gpus
        Number of GPUs. Default: those of CUDA_VISIBLE_DEVICES, else as many as the machine has.
    resources
        Custom resources of the node, name to amount.
    labels
        Labels of the node, shown by ``haz.nodes()``.
    object_store_memory
        Limit of the object store in bytes. Default: derived from the machine or its cgroup.
    local_mode
        The same as ``engine="inline"``.
    ignore_reinit_error
        Return the running node instead of raising RuntimeError if there is one.
    logging_level
        Level of haz's own logger: a number, or a name such as ``"info"``.
    log_to_driver
        Whether the driver shows what tasks print and log. Default: it does.
    namespace
        Namespace of named actors.
    runtime_env
        What all tasks and actors of the program find, but where their own ``runtime_env`` says
        otherwise: ``env_vars``, ``working_dir``, ``py_modules``, ``pip``,
        ``worker_process_setup_hook``. See the guide. Default: the driver's packages, working
        directory and environment variables.
    engine
        ``"native"``: parallel worker processes. ``"inline"``: each task runs at once in the thread
        that calls ``.remote()``, for debuggers. Default: the environment variable ``HAZ_ENGINE``,
        else native.
    preload
        Modules that are imported once, before workers are forked. Default: numpy if the program has
        imported it. Whatever is given, what the program has imported of a list of modules of the
        standard library follows, when no worker is waited for.
    _memory
        Bytes of memory that tasks and actors may ask for by ``memory=``. Default: what the machine
        or its cgroup has free.
    job_config
        A ``ray.job_config.JobConfig``, for programs that are written for Ray: its runtime_env and
        namespace hold where none are given here.
    include_dashboard, dashboard_host, dashboard_port, configure_logging, logging_format, \
    logging_config, enable_resource_isolation, cgroup_path, system_reserved_cpu, \
    system_reserved_memory, proxy_server_url
        Ray's arguments without a meaning on one machine; accepted.

    Returns
    -------
    HazContext
        A mapping with information on the node, and a context manager that ends it.

    Raises
    ------
    ConnectionError
        If there is no node at `address`, or it is of another version of haz.
    RuntimeError
        If haz is initialized already, unless `ignore_reinit_error`.
    TypeError
        For an argument that there isn't.

    Notes
    -----
    In a task it joins the node that runs the task, whatever the arguments.
    """
    for name in kwargs:
        if name not in _HIDDEN:
            raise unknown_keyword("haz.init()", name, ("address", *(init.__kwdefaults__ or ())))
    ignore_reinit_error = check_bool("ignore_reinit_error", ignore_reinit_error)
    local_mode = check_bool("local_mode", local_mode)
    _check_without_meaning(
        include_dashboard=include_dashboard,
        dashboard_host=dashboard_host,
        dashboard_port=dashboard_port,
        configure_logging=configure_logging,
        logging_format=logging_format,
        enable_resource_isolation=enable_resource_isolation,
        cgroup_path=cgroup_path,
        system_reserved_cpu=system_reserved_cpu,
        system_reserved_memory=system_reserved_memory,
        proxy_server_url=proxy_server_url,
    )
    runtime.check_not_forked()
    running = runtime.engine
    if running is not None:
        return _join(running, ignore_reinit_error)
    engine_name = _engine_name(engine, local_mode)
    address = _address(address, engine_name)
    _warn_of_ignored(
        include_dashboard=include_dashboard,
        enable_resource_isolation=enable_resource_isolation,
        logging_config=logging_config,
    )
    if job_config is not None:
        runtime_env, namespace = _of_job_config(job_config, runtime_env, namespace)
    options = InitOptions(
        **check_node_options(
            num_cpus=_num_cpus(num_cpus, address),
            num_gpus=num_gpus,
            resources=resources,
            memory=_bytes("_memory", _memory, 1),
            object_store_memory=object_store_memory,
            labels=labels,
        ),
        namespace=None if namespace is None else check_namespace(namespace),
        log_to_driver=log_to_driver is None or check_bool("log_to_driver", log_to_driver),
        logging_level=_level(logging_level),
        preload=_preload(preload),
        **({} if runtime_env is None else check_runtime_env(runtime_env)),
        address=address,
    )
    started = runtime.start(engine_name, options)
    # The first worker starts while this is imported.
    from haz._core.context import HazContext, make_address_info

    runtime.address_info = make_address_info(started)
    return HazContext(runtime.address_info)


def check_node_options(
    *,
    num_cpus: Any,
    num_gpus: Any,
    resources: Any,
    memory: Any,
    object_store_memory: Any,
    labels: Any,
) -> dict[str, Any]:
    """Check and return what is a node's own, whoever hosts it. None stays None: not given."""
    return {
        "num_cpus": None if num_cpus is None else _count("num_cpus", num_cpus, MOST),
        "num_gpus": None if num_gpus is None else _count("num_gpus", num_gpus, _MOST_GPUS),
        "resources": None if resources is None else check_resources("resources", resources),
        "memory": _bytes("memory", memory, 1),
        "object_store_memory": _bytes(
            "object_store_memory", object_store_memory, _LEAST_STORE_BYTES
        ),
        "labels": None if labels is None else check_str_dict("labels", labels),
    }


def _count(name: str, value: Any, most: int) -> int:
    return _at_most(most, name, check_int(name, value, 0))


def _join(running: Any, ignore_reinit_error: bool) -> HazContext:
    from haz._core.context import HazContext, make_address_info

    if not runtime.is_worker and not ignore_reinit_error:
        raise RuntimeError(
            "haz is initialized already (by haz.init, or by the first .remote() or put): call "
            "haz.shutdown() before haz.init(), or give ignore_reinit_error=True to keep it"
        )
    return HazContext(runtime.address_info or make_address_info(running))


def _address(address: str | None, engine: str) -> str | None:
    """Return the address of the node to join, or None for a node of our own."""
    named = os.environ.get("HAZ_ADDRESS") or None
    if address is None:
        address = named if engine == "native" else None
    elif check_str("address", address) == "auto":
        address = named or address
    if address is None or address == "local":
        return None
    if "://" in address or (":" in address and "/" not in address):
        raise ConnectionError(
            f"haz runs on this machine, and can't connect to {shown(address)}: an address is 'auto', "
            f"the name of a node or the path of its socket"
        )
    if engine != "native":
        raise ValueError(f"the {engine} engine can't join the node at {address!r}")
    return address


def _of_job_config(job_config: Any, runtime_env: Any, namespace: str | None) -> tuple[Any, Any]:
    """Return the environment and the namespace of the program: its own, else those of Ray's class."""
    if not hasattr(job_config, "runtime_env") or not hasattr(job_config, "ray_namespace"):
        raise TypeError(f"job_config must be a ray.job_config.JobConfig, not {shown(job_config)}")
    return (
        job_config.runtime_env if runtime_env is None else runtime_env,
        job_config.ray_namespace if namespace is None else namespace,
    )


def _check_port(name: str, value: Any) -> int:
    return _at_most(65535, name, check_int(name, value, 0))


#: Arguments without a meaning here; nonsense is an error all the same.
_WITHOUT_MEANING: dict[str, Callable[[str, Any], object]] = {
    "include_dashboard": check_bool,
    "dashboard_host": check_str,
    "dashboard_port": _check_port,
    "configure_logging": check_bool,
    "logging_format": check_str,
    "enable_resource_isolation": check_bool,
    "cgroup_path": check_str,
    "system_reserved_cpu": check_amount,
    "system_reserved_memory": check_memory,
    "proxy_server_url": check_str,
}


def _check_without_meaning(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            _WITHOUT_MEANING[name](name, value)


def _warn_of_ignored(**given: Any) -> None:
    for name, value in given.items():
        if value:
            runtime.warn_once(name, f"haz.init ignores {name}={shown(value)}")


def _num_cpus(value: int | None, address: str | None) -> int | None:
    return value if value is not None or address is not None else num_cpus_of_environment()


def num_cpus_of_environment() -> int | None:
    """Return what HAZ_NUM_CPUS says, if it is set."""
    text = os.environ.get("HAZ_NUM_CPUS")
    if not text:
        return None
    try:
        return min(check_int("HAZ_NUM_CPUS", int(text), 0), MOST)
    except ValueError:
        raise ValueError(f"HAZ_NUM_CPUS must be a number of CPUs, and is {shown(text)}") from None


def _bytes(name: str, value: int | float | None, least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return _at_most(_MOST_BYTES, name, check_int(name, value, least, " (bytes)"))


def _at_most(most: int, name: str, value: int) -> int:
    if value > most:
        raise ValueError(f"{name} must be at most {most}, not {shown(value)}")
    return value


def _level(value: int | str) -> int:
    if isinstance(value, str):
        try:
            return _LEVELS[value.lower()]
        except KeyError:
            raise ValueError(
                f"logging_level {shown(value)} is none of {', '.join(_LEVELS)}"
            ) from None
    return _at_most(MOST, "logging_level", check_int("logging_level", value, 0))


def _preload(value: Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    is_list = hasattr(value, "__iter__") and not isinstance(value, (str, bytes, dict))
    names = tuple(value) if is_list else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"preload must be a list of names of modules, not {shown(value)}")
    return names


def _engine_name(engine: str | None, local_mode: bool) -> str:
    if engine is None:
        name = "inline" if local_mode else os.environ.get("HAZ_ENGINE") or "native"
    else:
        name = check_str("engine", engine)
    if name not in ENGINES:
        raise ValueError(f"there is no engine {shown(name)}; there are {', '.join(ENGINES)}")
    return name


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """End haz and all its processes; the end of the program does this too.

    Values got before stay valid, also arrays in shared memory. Refs don't. Does nothing in a task,
    and where haz is not initialized.

    Parameters
    ----------
    wait_for_processes
        Ray's argument; haz always waits.
    """
    check_bool("wait_for_processes", wait_for_processes)
    runtime.stop()


def is_initialized() -> bool:
    """Whether haz runs: after ``init`` or the first ``.remote()``, until ``shutdown``."""
    return runtime.engine is not None and not runtime.forked
