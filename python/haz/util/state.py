"""What runs on the node and what has run: Ray's ``ray.util.state``.

>>> from haz.util.state import list_actors, summarize_tasks
>>> list_actors(filters=[("state", "=", "ALIVE")])
[]

Of what exists everything is known, of what has ended the latest 8192 tasks, 1024 actors and 1024
workers, as long as their program runs. A list is a picture of one moment: what it shows may have
changed when it is read. Making one takes the node's time, some microseconds an entry.
"""

from __future__ import annotations

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn, TypeVar

    Filters = Sequence[tuple[str, str, str | bool | int | float]]
    S = TypeVar("S", bound="State")

__all__ = [
    "ActorState",
    "JobState",
    "NodeState",
    "ObjectState",
    "PlacementGroupState",
    "RayStateApiException",
    "State",
    "StateApiError",
    "TaskState",
    "WorkerState",
    "get_actor",
    "get_job",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]

_MOST = 10_000
_MB = 1e6


class StateApiError(Exception):
    """The list that was asked for would leave something out, see `raise_on_missing_output`."""


#: Ray's name of it.
RayStateApiException = StateApiError


class State:
    """One entry of a list. Its fields are attributes, and items as of a dictionary."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getitem__(self, field: str) -> Any:
        return self.__dict__[field]

    def __contains__(self, field: object) -> bool:
        return field in self.__dict__

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def get(self, field: str, default: Any = None) -> Any:
        """Return a field, or `default` where there is none of that name."""
        return self.__dict__.get(field, default)

    def keys(self) -> list[str]:
        """Return the names of the fields."""
        return list(self.__dict__)

    def asdict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return dict(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"


class ActorState(State):
    """An actor.

    Attributes
    ----------
    state
        "DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING" or "DEAD".
    pid
        Its process; None: it has none yet, or that is no longer known.
    death_cause
        ``reason``, as of `ActorDiedError`, and ``message``; None while it lives.
    required_resources
        What it holds for its life.
    """

    actor_id: str
    class_name: str
    state: str
    job_id: str | None
    name: str
    node_id: str | None
    pid: int | None
    ray_namespace: str
    required_resources: dict[str, float]
    death_cause: dict[str, Any] | None
    is_detached: bool
    placement_group_id: str | None
    num_restarts: int


class TaskState(State):
    """A task, a call of an actor, or an actor's constructor, with its latest attempt.

    Attributes
    ----------
    state
        "PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT" (waits for resources),
        "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY", "SUBMITTED_TO_WORKER" (which still runs another
        one), "RUNNING", "RUNNING_IN_RAY_GET" (waits for objects), "FINISHED" or "FAILED".
    type
        "NORMAL_TASK", "ACTOR_TASK" or "ACTOR_CREATION_TASK".
    error_type
        Of one that has failed: "TASK_EXECUTION_EXCEPTION", "TASK_CANCELLED", "TASK_TIMED_OUT",
        "WORKER_DIED", "ACTOR_DIED", or "DEPENDENCY_RESOLUTION_FAILED": an argument was an error, or
        it could not be run otherwise.
    creation_time_ms, start_time_ms, end_time_ms
        Milliseconds since 1970, with fractions. None: it has not come to that. The first may be some
        milliseconds early; the others are exact once it has ended.
    """

    task_id: str
    attempt_number: int
    name: str
    state: str
    job_id: str | None
    actor_id: str | None
    type: str
    func_or_class_name: str
    parent_task_id: str | None
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    language: str
    required_resources: dict[str, float]
    placement_group_id: str | None
    creation_time_ms: float | None
    start_time_ms: float | None
    end_time_ms: float | None


class ObjectState(State):
    """An object.

    Attributes
    ----------
    object_size
        In bytes; 0 while its task runs.
    task_status
        "PENDING", "FINISHED" or "FAILED": it is an error.
    reference_type
        "ACTOR_HANDLE" or "LOCAL_REFERENCE".
    reference_count
        Of processes, of tasks that have it as an argument, and of other objects.
    in_object_store
        Whether it lies in the shared memory; small ones do not.
    task_id
        The task that makes it, while that has not ended.
    created_by
        Worker id of the process that has made its id.
    """

    object_id: str
    object_size: int
    task_status: str
    reference_type: str
    reference_count: int
    in_object_store: bool
    task_id: str | None
    created_by: str | None


class WorkerState(State):
    """A worker process.

    Attributes
    ----------
    state
        "IDLE", "BUSY", "BLOCKED" or "DEAD".
    exit_code, exit_signal
        How it has ended: one of them, or None while it lives.
    """

    worker_id: str
    is_alive: bool
    worker_type: str
    state: str
    pid: int | None
    node_id: str
    actor_id: str | None
    job_id: str | None
    exit_code: int | None
    exit_signal: int | None


class NodeState(State):
    """The node."""

    node_id: str
    node_ip: str
    is_head_node: bool
    state: str
    node_name: str
    resources_total: dict[str, float]
    labels: dict[str, str]


class JobState(State):
    """The calling program."""

    job_id: str
    type: str
    status: str
    entrypoint: str
    driver_pid: int | None


class PlacementGroupState(State):
    """A placement group; `state` is "PENDING", "CREATED" or "REMOVED"."""

    placement_group_id: str
    name: str
    state: str
    bundles: list[dict[str, Any]]
    strategy: str


# ---- lists -------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return str(value).lower()


def _matches(row: dict[str, Any], filters: Filters) -> bool:
    for name, predicate, value in filters:
        if (_text(row[name]) == _text(value)) != (predicate == "="):
            return False
    return True


def _check(cls: type[State], address: object, filters: Any, limit: object) -> Filters:
    if address is not None and address not in ("auto", "local"):
        raise ValueError(
            f"address must be None: the lists are of the node that this program runs on, not of "
            f"{address!r}; haz.init(address=...) joins another one"
        )
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= _MOST:
        raise ValueError(f"limit must be an integer from 1 to {_MOST}, not {limit!r}")
    if filters is None:
        return ()
    if isinstance(filters, (str, bytes)) or not hasattr(filters, "__iter__"):
        raise TypeError(f'filters must be a list like [("state", "=", "ALIVE")], not {filters!r}')
    checked: list[Any] = []
    for one in filters:
        if not isinstance(one, (tuple, list)) or len(one) != 3:
            raise ValueError(f'a filter is (name, "=" or "!=", value), not {one!r}')
        if one[1] not in ("=", "!="):
            raise ValueError(f'the predicate of a filter is "=" or "!=", not {one[1]!r}')
        if one[0] not in cls.__annotations__:
            known = ", ".join(sorted(cls.__annotations__))
            raise ValueError(f"there is no field {one[0]!r} to filter by (there is {known})")
        checked.append(tuple(one))
    return checked


def _list(
    cls: type[S],
    rows: Callable[[], tuple[list[dict[str, Any]], int]],
    address: str | None,
    filters: Filters | None,
    limit: int,
    raise_on_missing_output: bool,
) -> list[S]:
    wanted = _check(cls, address, filters, limit)
    found, total = rows()
    if total > len(found):
        told = f"there are {total} entries, and no more than {len(found)} can be looked at"
        if raise_on_missing_output:
            raise StateApiError(f"{told}; with raise_on_missing_output=False these are returned")
        import warnings

        warnings.warn(told, RuntimeWarning, stacklevel=3)
    states = []
    for row in found:
        if _matches(row, wanted):
            states.append(cls(**row))
            if len(states) == limit:
                break
    return states


def _of_engine(kind: str) -> Callable[[], tuple[list[dict[str, Any]], int]]:
    return lambda: runtime.ensure().list_state(kind)


def list_actors(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ActorState]:
    """Return the actors: those that live, then those that have died, the latest first.

    Parameters
    ----------
    address
        Accepted where it means this node: None, "auto".
    filters
        A list of (field, "=" or "!=", value), all of which must hold; texts are compared without
        regard to case: ``[("state", "=", "ALIVE")]``.
    limit
        Most entries to return, up to 10000.
    raise_on_missing_output
        Whether `StateApiError` is raised where there are more than 10000 to choose from; else that is
        a warning.
    timeout, detail, _explain
        Accepted: all fields are always there, and at once.
    """
    return _list(ActorState, _of_engine("actors"), address, filters, limit, raise_on_missing_output)


def list_tasks(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[TaskState]:
    """Return the tasks: those that have not ended, in their order, then others, the latest first.

    Parameters: see `list_actors`.
    """
    return _list(TaskState, _of_engine("tasks"), address, filters, limit, raise_on_missing_output)


def list_objects(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[ObjectState]:
    """Return the objects that exist. Parameters: see `list_actors`."""
    return _list(
        ObjectState, _of_engine("objects"), address, filters, limit, raise_on_missing_output
    )


def list_workers(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[WorkerState]:
    """Return the worker processes, then those that have ended. Parameters: see `list_actors`."""
    return _list(
        WorkerState, _of_engine("workers"), address, filters, limit, raise_on_missing_output
    )


def list_nodes(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[NodeState]:
    """Return the one node. Parameters: see `list_actors`."""

    def rows() -> tuple[list[dict[str, Any]], int]:
        found = [
            {
                "node_id": node["NodeID"],
                "node_ip": node["NodeManagerAddress"],
                "is_head_node": True,
                "state": "ALIVE" if node["Alive"] else "DEAD",
                "node_name": node["NodeManagerHostname"],
                "resources_total": node["Resources"],
                "labels": node["Labels"],
            }
            for node in runtime.ensure().nodes()
        ]
        return found, len(found)

    return _list(NodeState, rows, address, filters, limit, raise_on_missing_output)


def list_jobs(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[JobState]:
    """Return the calling program. Parameters: see `list_actors`."""

    def rows() -> tuple[list[dict[str, Any]], int]:
        import os
        import sys

        engine = runtime.ensure()
        row = {
            "job_id": str(engine.context()["job_id"]),
            "type": "DRIVER",
            "status": "RUNNING",
            "entrypoint": " ".join(sys.argv),
            "driver_pid": None if runtime.is_worker else os.getpid(),
        }
        return [row], 1

    return _list(JobState, rows, address, filters, limit, raise_on_missing_output)


def list_placement_groups(
    address: str | None = None,
    filters: Filters | None = None,
    limit: int = 100,
    timeout: float = 30,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[PlacementGroupState]:
    """Return the placement groups. Parameters: see `list_actors`."""

    def rows() -> tuple[list[dict[str, Any]], int]:
        found = [
            {
                "placement_group_id": group["ref"].hex(),
                "name": group["name"],
                "state": group["state"],
                "bundles": [
                    {"bundle_id": number, "unit_resources": bundle}
                    for number, bundle in enumerate(group["bundles"])
                ],
                "strategy": group["strategy"],
            }
            for group in runtime.ensure().placement_groups(None)
        ]
        return found, len(found)

    return _list(PlacementGroupState, rows, address, filters, limit, raise_on_missing_output)


# ---- single entries ----------------------------------------------------------------------------


def _one(states: list[S]) -> S | None:
    return states[0] if states else None


def get_actor(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> ActorState | None:
    """Return the actor of that id; None: it is not known."""
    return _one(list_actors(address, [("actor_id", "=", id)], raise_on_missing_output=False))


def get_task(
    id: Any, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> TaskState | None:
    """Return the task of that id, or the one that makes that ref; None: it is not known."""
    number = id.task_id().hex() if hasattr(id, "task_id") else id
    return _one(list_tasks(address, [("task_id", "=", number)], raise_on_missing_output=False))


def get_objects(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> list[ObjectState]:
    """Return the object of that id in a list; an empty one: it is not known."""
    return list_objects(address, [("object_id", "=", id)], raise_on_missing_output=False)


def get_worker(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> WorkerState | None:
    """Return the worker of that id; None: it is not known."""
    return _one(list_workers(address, [("worker_id", "=", id)]))


def get_node(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> NodeState | None:
    """Return the node of that id; None: there is no such."""
    return _one(list_nodes(address, [("node_id", "=", id)]))


def get_job(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> JobState | None:
    """Return the program of that job id, if it is the calling one."""
    return _one(list_jobs(address, [("job_id", "=", id)]))


def get_placement_group(
    id: str, address: str | None = None, timeout: float = 30, _explain: bool = False
) -> PlacementGroupState | None:
    """Return the placement group of that id; None: it is not known."""
    return _one(list_placement_groups(address, [("placement_group_id", "=", id)]))


# ---- summaries ---------------------------------------------------------------------------------


def _count_states(states: Sequence[State], name: str, *more: str) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for state in states:
        entry = summary.get(state[name])
        if entry is None:
            entry = summary[state[name]] = {field: state[field] for field in (name, *more)}
            entry["state_counts"] = {}
        counts = entry["state_counts"]
        counts[state["state"]] = counts.get(state["state"], 0) + 1
    return summary


def summarize_tasks(
    address: str | None = None,
    timeout: float = 30,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Return the number of tasks by name and state, under ``["cluster"]["summary"]``."""
    tasks = list_tasks(address, limit=_MOST, raise_on_missing_output=raise_on_missing_output)
    kinds = [task.type for task in tasks]
    return {
        "cluster": {
            "summary": _count_states(tasks, "func_or_class_name", "type"),
            "summary_by": "func_name",
            "total_tasks": kinds.count("NORMAL_TASK"),
            "total_actor_tasks": kinds.count("ACTOR_TASK"),
            "total_actor_scheduled": kinds.count("ACTOR_CREATION_TASK"),
        }
    }


def summarize_actors(
    address: str | None = None,
    timeout: float = 30,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Return the number of actors by class and state, under ``["cluster"]["summary"]``."""
    actors = list_actors(address, limit=_MOST, raise_on_missing_output=raise_on_missing_output)
    return {
        "cluster": {
            "summary": _count_states(actors, "class_name"),
            "summary_by": "class",
            "total_actors": len(actors),
        }
    }


def summarize_objects(
    address: str | None = None,
    timeout: float = 30,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Return number and sizes of objects by what they are, under ``["cluster"]["summary"]``."""
    objects = list_objects(address, limit=_MOST, raise_on_missing_output=raise_on_missing_output)
    summary: dict[str, Any] = {}
    for found in objects:
        entry = summary.setdefault(
            found.reference_type,
            {"total_objects": 0, "total_size_mb": 0.0, "task_state_counts": {}},
        )
        entry["total_objects"] += 1
        entry["total_size_mb"] += found.object_size / _MB
        counts = entry["task_state_counts"]
        counts[found.task_status] = counts.get(found.task_status, 0) + 1
    return {
        "cluster": {
            "summary": summary,
            "summary_by": "reference_type",
            "total_objects": len(objects),
            "total_size_mb": sum(found.object_size for found in objects) / _MB,
        }
    }


# ---- what haz has not got ------------------------------------------------------------------------


def __getattr__(name: str) -> NoReturn:
    advice = {
        "get_log": "haz keeps no log files: what tasks print is in the driver's own output",
        "list_logs": "haz keeps no log files: what tasks print is in the driver's own output",
        "list_cluster_events": "haz has no such events; list_tasks() and list_actors() tell",
        "list_runtime_envs": "an environment is what haz.get_runtime_context().runtime_env says",
    }
    told = f": {advice[name]}" if name in advice else ""
    raise AttributeError(f"module 'haz.util.state' has no attribute {name!r}{told}")
