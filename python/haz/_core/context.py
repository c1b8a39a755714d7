"""What ``haz.init`` and ``haz.get_runtime_context`` return."""

from __future__ import annotations

import sys
from _collections_abc import Mapping

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from haz._core import ids
    from haz._core.actor import ActorHandle
    from haz.engines.base import Engine

__all__ = ["HazContext", "RuntimeContext", "make_address_info"]


def make_address_info(engine: Engine) -> dict[str, Any]:
    """The mapping that ``haz.init`` returns: Ray's keys, where they have a meaning."""
    context = engine.context()
    return {
        "node_ip_address": "127.0.0.1",
        "address": context.get("address", "local"),
        "node_id": context.get("node_id"),
        "session_name": context.get("session_name"),
        "webui_url": "",
        "engine": engine.name,
    }


class HazContext(Mapping[str, "Any"]):
    """The running node, as ``haz.init`` returns it.

    A mapping with Ray's keys (``node_id``, ``node_ip_address``, ``address`` ...), and a context
    manager that shuts haz down: ``with haz.init(): ...``.
    """

    def __init__(self, address_info: dict[str, Any]) -> None:
        #: The mapping's items as a dictionary.
        self.address_info = address_info
        #: Address of the dashboard; empty: there is none.
        self.dashboard_url = ""
        #: Version of the running Python.
        self.python_version = "{}.{}.{}".format(*sys.version_info[:3])

    @property
    def haz_version(self) -> str:
        """Version of haz."""
        import haz

        return haz.__version__

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __repr__(self) -> str:
        return (
            f"HazContext(engine={self.address_info.get('engine')!r}, "
            f"python_version={self.python_version!r}, haz_version={self.haz_version!r})"
        )

    def __enter__(self) -> HazContext:
        return self

    def __exit__(self, *_exc: object) -> None:
        runtime.stop()

    def disconnect(self) -> None:
        """Shut haz down, as ``haz.shutdown()``."""
        runtime.stop()


class RuntimeContext:
    """Where the calling code runs: ids of the job, node, worker and task. Ray's methods."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _value(self, key: str) -> Any:
        return self._engine.context().get(key)

    def get(self) -> dict[str, Any]:
        """Everything in one dictionary; what has no value is left out."""
        return {key: value for key, value in self._engine.context().items() if value is not None}

    def get_job_id(self) -> str:
        """Id of the driver's run, in hexadecimal."""
        return str(self._value("job_id"))

    def get_node_id(self) -> str:
        """Id of the node, in hexadecimal."""
        return str(self._value("node_id"))

    def get_worker_id(self) -> str:
        """Id of this process on its node, in hexadecimal; the driver has one too."""
        return str(self._value("worker_id"))

    def get_session_name(self) -> str:
        """Name of this run of the node."""
        return str(self._value("session_name"))

    def get_task_id(self) -> str | None:
        """Id of the running task, in hexadecimal; None in the driver."""
        return _optional_str(self._value("task_id"))

    def get_task_name(self) -> str | None:
        """Name of the running task; None in the driver."""
        return _optional_str(self._value("task_name"))

    def get_task_function_name(self) -> str | None:
        """Qualified name of the running task's function; None in the driver."""
        return _optional_str(self._value("task_function_name"))

    def is_canceled(self) -> bool:
        """Whether the running task was cancelled. What can't be interrupted may ask this, and end."""
        return self._engine.is_cancelled()

    def get_attempt_number(self) -> int:
        """How many attempts of the running task came before this one."""
        return int(self._value("attempt") or 0)

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """Handle of the actor that this code runs in. Raises RuntimeError elsewhere."""
        from haz._core.actor_api import current_actor_handle

        return current_actor_handle()

    def get_actor_id(self) -> str | None:
        """Id of the actor that this code runs in; None elsewhere."""
        return _optional_str(self._value("actor_id"))

    def get_actor_name(self) -> str | None:
        """Name of the actor that this code runs in, empty if it has none; None elsewhere."""
        return _optional_str(self._value("actor_name"))

    # ---- the same as objects: properties that Ray had before ----------------------------------

    @property
    def job_id(self) -> ids.JobID:
        """Id of the driver's run."""
        from haz._core.ids import JobID

        return JobID(bytes.fromhex(self.get_job_id()))

    @property
    def node_id(self) -> ids.NodeID:
        """Id of the node."""
        from haz._core.ids import NodeID

        return NodeID(bytes.fromhex(self.get_node_id()))

    @property
    def worker_id(self) -> ids.WorkerID:
        """Id of this process on its node."""
        from haz._core.ids import WorkerID

        return WorkerID(bytes.fromhex(self.get_worker_id()))

    @property
    def task_id(self) -> ids.TaskID:
        """Id of the running task. Raises RuntimeError in the driver."""
        from haz._core.ids import TaskID

        found = self.get_task_id()
        if found is None:
            raise RuntimeError("only a task has a task_id, and this is the driver")
        return TaskID(bytes.fromhex(found))

    @property
    def actor_id(self) -> ids.ActorID:
        """Id of the actor that this code runs in. Raises RuntimeError elsewhere."""
        from haz._core.ids import ActorID

        found = self.get_actor_id()
        if found is None:
            raise RuntimeError("only an actor has an actor_id, and none runs here")
        return ActorID(bytes.fromhex(found))

    @property
    def current_placement_group_id(self) -> ids.PlacementGroupID:
        """Id of the placement group that this code runs in; nil: in none."""
        from haz._core.ids import PlacementGroupID

        found = self.get_placement_group_id()
        return PlacementGroupID(b"\xff" * 16 if found is None else bytes.fromhex(found))

    def get_resource_ids(self) -> dict[str, list[tuple[int, float]]]:
        """Amounts of the resources that the running task holds; ids have those of GPUs only."""
        held = self.get_assigned_resources()
        gpus = self.get_accelerator_ids()["GPU"]
        share = min(held.get("GPU", 0.0), 1.0)
        return {
            name: [(int(gpu), share) for gpu in gpus if gpu.isdigit()]
            if name == "GPU"
            else [(0, amount)]
            for name, amount in held.items()
        }

    # ---- where it runs --------------------------------------------------------------------------

    def get_placement_group_id(self) -> str | None:
        """Id of the placement group that this code runs in; None: in none."""
        found = self._engine.current_placement_group()
        return None if found is None else found[0].hex()

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether tasks that this code submits run in its placement group, too."""
        found = self._engine.current_placement_group()
        return found is not None and found[1]

    def get_assigned_resources(self) -> dict[str, float]:
        """Resources that the running task holds. Raises RuntimeError in the driver."""
        resources = self._value("assigned_resources")
        if resources is None:
            raise RuntimeError("only a task has assigned resources, and this is the driver")
        return dict(resources)

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Ids of the accelerators that the running task holds."""
        return {"GPU": [str(gpu) for gpu in self._value("gpu_ids") or ()]}

    def get_node_labels(self) -> dict[str, str]:
        """Labels of the node."""
        return dict(self._value("labels") or {})

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment of this code: that of ``haz.init``, and what the task or actor, or
        the one that has submitted it, says besides."""
        return self._engine.runtime_env()

    def get_runtime_env_string(self) -> str:
        """`runtime_env` as JSON; a hook that is a function by its name."""
        import json

        return json.dumps(
            self.runtime_env, default=lambda value: getattr(value, "__qualname__", str(value))
        )

    @property
    def namespace(self) -> str:
        """Namespace of named actors."""
        return str(self._value("namespace") or "")

    @property
    def gcs_address(self) -> str:
        """Address of the node: of its socket, or "local" where it has no server."""
        return str(self._value("address") or "local")

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor that this code runs in was restarted."""
        return bool(self._value("actor_restarted"))


def _optional_str(value: Any) -> str | None:
    return None if value is None else str(value)
