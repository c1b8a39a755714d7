"""What exists on a node and what has ended, as dictionaries; for `list_state` of the native engine.

The node answers with numbers (src/node/state.cpp says which); here they get names and ids.
"""

from __future__ import annotations

import time

from haz import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Row = dict[str, Any]

__all__ = ["MOST_ENTRIES", "actor_pids", "list_state"]

#: Of what exists; of what has ended the node keeps a bounded number itself.
MOST_ENTRIES = 10_000

_PID_TRIES = 200
_PID_PAUSE_S = 0.005

#: Kinds of queries, as QueryKind of src/wire/messages.h.
_TASKS, _ACTORS, _OBJECTS, _WORKERS = 10, 11, 12, 13

#: By Progress of src/node/state.cpp.
_LIVE_TASK_STATES = (
    "PENDING_ARGS_AVAIL",
    "PENDING_NODE_ASSIGNMENT",
    "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY",
    "SUBMITTED_TO_WORKER",
    "RUNNING",
    "RUNNING_IN_RAY_GET",
)
#: By TaskEnd of src/sched/history.h: the error's type, or None.
_TASK_ENDS = (
    None,
    "TASK_EXECUTION_EXCEPTION",
    "TASK_CANCELLED",
    "TASK_TIMED_OUT",
    "WORKER_DIED",
    "DEPENDENCY_RESOLUTION_FAILED",
)
#: By ActorState of src/sched/actor.h.
_ACTOR_STATES = ("PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
_OBJECT_STATES = ("PENDING", "FINISHED", "FAILED")
_WORKER_STATES = ("IDLE", "BUSY", "BLOCKED", "BUSY")


class _Names:
    """Ids as users see them."""

    def __init__(self, job_id: str, has_jobs: bool) -> None:
        self._epoch = f"{_native.identity()[0]:016x}"
        self._job_id = job_id
        self._has_jobs = has_jobs

    @property
    def node(self) -> str:
        return self._epoch

    def id(self, number: int) -> str | None:
        return f"{self._epoch}{number & 0xFFFFFFFFFFFFFFFF:016x}" if number else None

    def worker(self, process: int) -> str | None:
        return f"{self._epoch}{process:08x}" if process else None

    def job(self, process: int) -> str | None:
        """Of a job's process, where the node has jobs: 0, one that is not known."""
        if not self._has_jobs:
            return self._job_id
        return f"{process:08x}" if process else None


#: The node's times are of the machine's monotonic clock. Once, so that a time stays what it is.
_SHIFT_NS = time.time_ns() - time.monotonic_ns()


def _wall_ms(at_ns: int) -> float | None:
    """Return a time of the node's in milliseconds since 1970; None of 0."""
    return (at_ns + _SHIFT_NS) / 1e6 if at_ns else None


def list_state(kind: str, job_id: str, has_jobs: bool) -> tuple[list[Row], int]:
    """Return the rows of "tasks", "actors", "objects" or "workers", and how many there would be.

    Parameters
    ----------
    kind
        What is listed. What exists comes first, then what has ended, the latest first.
    job_id
        That of the calling program.
    has_jobs
        Whether there may be others: the node is a long-lived one.
    """
    names = _Names(job_id, has_jobs)
    if kind == "workers":
        rows = list(_workers(names))
        return rows, len(rows)
    if kind == "objects":
        answer = _native.query(_OBJECTS, MOST_ENTRIES)
        rows = list(_objects(answer, names))
        return rows, answer["total"]
    answer = _native.query(_TASKS if kind == "tasks" else _ACTORS, MOST_ENTRIES)
    # Afterwards, so that all processes are known that the answer names.
    workers = {row["worker_id"]: row for row in _workers(names)}
    rows = list((_tasks if kind == "tasks" else _actors)(answer, names, workers))
    return rows, answer["total"] + len(answer["ended"])


def _tasks(answer: Row, names: _Names, workers: dict[str, Row]) -> Iterator[Row]:
    functions = answer["functions"]

    def row(fields: list[Any], times: list[int]) -> Row:
        number, function, parent, actor, creates_actor, process, attempt = fields
        name, resources = functions[function]
        worker = workers.get(names.worker(process) or "", {})
        kind = "ACTOR_CREATION_TASK" if creates_actor else "ACTOR_TASK" if actor else "NORMAL_TASK"
        submitted, began, ended = times
        return {
            "task_id": names.id(number),
            "attempt_number": max(attempt - 1, 0),
            "name": name,
            "state": "FINISHED",
            "job_id": worker.get("job_id") or names.job(0),
            "actor_id": names.id(actor),
            "type": kind,
            "func_or_class_name": name,
            "parent_task_id": names.id(parent),
            "node_id": names.node if process else None,
            "worker_id": names.worker(process),
            "worker_pid": worker.get("pid"),
            "error_type": None,
            "language": "PYTHON",
            "required_resources": {} if kind == "ACTOR_TASK" else resources,
            "placement_group_id": None,
            "creation_time_ms": _wall_ms(submitted),
            "start_time_ms": _wall_ms(began) if process else None,
            "end_time_ms": _wall_ms(ended),
        }

    for *fields, pid, attempt, times, progress, group in answer["live"]:
        found = row([*fields, attempt], [*times[:2], 0])
        found["worker_pid"] = pid or found["worker_pid"]
        found["state"] = _LIVE_TASK_STATES[progress]
        if not found["state"].startswith("RUNNING"):
            found["start_time_ms"] = None
        found["placement_group_id"] = names.id(group)
        yield found
    for *fields, times, end in answer["ended"]:
        found = row(fields, times)
        if end:
            found["state"], found["error_type"] = "FAILED", _TASK_ENDS[end]
            if found["error_type"] == "WORKER_DIED" and found["actor_id"]:
                found["error_type"] = "ACTOR_DIED"
        yield found


def _actors(answer: Row, names: _Names, workers: dict[str, Row]) -> Iterator[Row]:
    functions = answer["functions"]

    def row(
        number: int,
        function: int,
        process: int,
        restarts: int,
        is_detached: bool,
        name: str,
        namespace: str,
    ) -> Row:
        constructor, resources = functions[function]
        worker = workers.get(names.worker(process) or "", {})
        return {
            "actor_id": names.id(number),
            "class_name": constructor.removesuffix(".__init__"),
            "state": "DEAD",
            "job_id": worker.get("job_id") or names.job(0),
            "name": name,
            "node_id": names.node if process else None,
            "pid": worker.get("pid"),
            "ray_namespace": namespace,
            "required_resources": resources,
            "death_cause": None,
            "is_detached": is_detached,
            "placement_group_id": None,
            "num_restarts": restarts,
        }

    for number, function, process, pid, *rest in answer["live"]:
        restarts, is_detached, name, namespace, state, waits, group = rest
        found = row(number, function, process, restarts, is_detached, name, namespace)
        found["pid"] = pid or found["pid"]
        found["state"] = _ACTOR_STATES[state]
        if found["state"] == "PENDING_CREATION" and not waits:
            found["state"] = "DEPENDENCIES_UNREADY"
        found["placement_group_id"] = names.id(group)
        yield found
    for *fields, death in answer["ended"]:
        found = row(*fields)
        found["death_cause"] = _death_cause(death)
        yield found


def _death_cause(death: bytes) -> Row:
    from haz._core.errors import unpack_error

    error = unpack_error(_native.decode_error(death))
    return {"reason": getattr(error, "reason", None), "message": str(error)}


def _objects(answer: Row, names: _Names) -> Iterator[Row]:
    for number, size, references, state, is_actor, in_store, producer in answer["live"]:
        yield {
            "object_id": names.id(number),
            "object_size": size,
            "task_status": _OBJECT_STATES[state],
            "reference_type": "ACTOR_HANDLE" if is_actor else "LOCAL_REFERENCE",
            "reference_count": references,
            "in_object_store": in_store,
            "task_id": names.id(producer),
            "created_by": names.worker(number >> 40),
        }


def _with_pids(kind: int, pids_of: Callable[[Row], Iterable[int | None]]) -> Row:
    """Return the answer to a query, if it can be once no pid in it is 0.

    A young worker may have run tasks before the zygote has told the node its pid.
    """
    for _ in range(_PID_TRIES):
        answer: Row = _native.query(kind, MOST_ENTRIES)
        if 0 not in pids_of(answer):
            break
        time.sleep(_PID_PAUSE_S)
    return answer


def actor_pids(node: str) -> dict[str, int | None]:
    """Return what `actor_pids` of the engine does; `node` is the beginning of ids."""

    def pids(answer: Row) -> list[int | None]:
        # One that restarts has the number of its last process.
        return [
            pid or (0 if process and _ACTOR_STATES[rest[-3]] != "RESTARTING" else None)
            for _, _, process, pid, *rest in answer["live"]
        ]

    answer = _with_pids(_ACTORS, pids)
    ids = (f"{node}{number & 0xFFFFFFFFFFFFFFFF:016x}" for number, *_ in answer["live"])
    return dict(zip(ids, pids(answer), strict=True))


def _workers(names: _Names) -> Iterator[Row]:
    answer = _with_pids(_WORKERS, lambda answer: [pid for _, pid, *_ in answer["live"]])

    def row(process: int, pid: int, job: int) -> Row:
        return {
            "worker_id": names.worker(process),
            "is_alive": True,
            "worker_type": "WORKER",
            "state": "DEAD",
            "pid": pid or None,
            "node_id": names.node,
            "actor_id": None,
            "job_id": names.job(job),
            "exit_code": None,
            "exit_signal": None,
        }

    for process, pid, state, actor, job in answer["live"]:
        found = row(process, pid, job)
        found["state"] = _WORKER_STATES[state]
        found["actor_id"] = names.id(actor)
        yield found
    for process, pid, exit_code, signal, job in answer["ended"]:
        found = row(process, pid, job)
        found["is_alive"] = False
        found["exit_code"], found["exit_signal"] = (None, signal) if signal else (exit_code, None)
        yield found
