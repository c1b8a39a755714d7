"""ipyparallel's names over haz: engines that keep state, views, push and pull.

>>> import haz.ipyparallel as ipp
>>> client = ipp.Client()  # doctest: +SKIP
>>> client[:].apply_sync(lambda x, y: x + y, 1, 2)  # doctest: +SKIP
[3, 3, 3, 3]

An engine is a process with a namespace of its own; functions of a notebook look their global names
up there. Arrays that are pushed or scattered lie in shared memory, and are read-only on engines.
"""

from __future__ import annotations

from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION

from haz.ipyparallel import error
from haz.ipyparallel._canning import Reference, can, uncan
from haz.ipyparallel._messages import ExecuteReply, Metadata
from haz.ipyparallel.asyncresult import AsyncHubResult, AsyncMapResult, AsyncResult
from haz.ipyparallel.client import Client
from haz.ipyparallel.cluster import Cluster
from haz.ipyparallel.dependency import Dependency, depend, dependent, require
from haz.ipyparallel.error import (
    AlreadyDisplayedError,
    CompositeError,
    DependencyTimeout,
    EngineCreationError,
    EngineError,
    ImpossibleDependency,
    InvalidDependency,
    IPythonError,
    KernelError,
    NoEnginesRegistered,
    RemoteError,
    TaskAborted,
    TaskRejectError,
    TaskTimeout,
    TimeoutError,
    UnmetDependency,
    collect_exceptions,
    unwrap_exception,
    wrap_exception,
)
from haz.ipyparallel.remotefunction import ParallelFunction, RemoteFunction, parallel, remote
from haz.ipyparallel.util import interactive
from haz.ipyparallel.view import BroadcastView, DirectView, LoadBalancedView, ViewExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AlreadyDisplayedError",
    "AsyncHubResult",
    "AsyncMapResult",
    "AsyncResult",
    "BroadcastView",
    "Client",
    "Cluster",
    "CompositeError",
    "Dependency",
    "DependencyTimeout",
    "DirectView",
    "EngineCreationError",
    "EngineError",
    "ExecuteReply",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "LoadBalancedView",
    "Metadata",
    "NoEnginesRegistered",
    "ParallelFunction",
    "Reference",
    "RemoteError",
    "RemoteFunction",
    "TaskAborted",
    "TaskRejectError",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "ViewExecutor",
    "can",
    "collect_exceptions",
    "depend",
    "dependent",
    "error",
    "interactive",
    "parallel",
    "register_joblib_backend",
    "remote",
    "require",
    "uncan",
    "unwrap_exception",
    "version_info",
    "wrap_exception",
]

#: The version of ipyparallel whose names and behaviour these are.
version_info = (9, 2, 0)
__version__ = ".".join(map(str, version_info))


def register_joblib_backend(name: str = "ipyparallel", make_default: bool = False) -> None:
    """Let joblib run on the engines of a `Client`, under a backend's name."""
    from haz.ipyparallel._joblib import register

    register(None, name, make_default)


def __getattr__(name: str) -> Any:
    if name == "ClusterWidget":
        from haz.ipyparallel.cluster_widget import ClusterWidget

        return ClusterWidget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
