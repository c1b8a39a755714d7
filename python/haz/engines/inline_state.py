"""What an inline engine knows of its tasks, actors and objects; for its `list_state`."""

from __future__ import annotations

import os
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.engines.inline import InlineEngine
    from haz.engines.inline_actors import InlineActor
    from haz.engines.inline_calls import BoundCall
    from haz.engines.inline_running import Running

    Row = dict[str, Any]

__all__ = ["InlineHistory", "list_state"]

_MOST_TASKS = 8192
_MOST_ACTORS = 1024
_ERROR_TYPES = {
    "task_error": "TASK_EXECUTION_EXCEPTION",
    "cancelled": "TASK_CANCELLED",
    "timeout": "TASK_TIMED_OUT",
    "actor_died": "ACTOR_DIED",
}


class InlineHistory:
    """The latest tasks and actors that have ended. Thread-safe."""

    def __init__(self) -> None:
        self.tasks: deque[tuple[Any, ...]] = deque(maxlen=_MOST_TASKS)
        self.actors: deque[Row] = deque(maxlen=_MOST_ACTORS)
        self.counts = {"finished": 0, "failed": 0}

    def add_task(
        self,
        task: BoundCall,
        number: int,
        parent: int,
        began_s: float,
        error: dict[str, Any] | None,
    ) -> None:
        """Keep that a task has ended; `error` is its failure."""
        self.counts["finished" if error is None else "failed"] += 1
        kind = None if error is None else error.get("kind")
        if error is not None and error.get("through"):
            kind = "dependency"
        actor = 0 if task.actor is None else task.actor.id
        self.tasks.append((number, task.name, task.kind, actor, parent, began_s, time.time(), kind))


def list_state(engine: InlineEngine, kind: str) -> tuple[list[Row], int]:
    """See ``list_state`` of :class:`haz.engines.base.Engine`."""
    if kind == "tasks":
        rows = [_running(engine, *running) for running in engine.running_tasks()]
        rows += [_ended(engine, *ended) for ended in reversed(engine.history.tasks)]
    elif kind == "actors":
        rows = [actor_row(engine, actor) for actor in engine.actors.living()]
        rows += reversed(engine.history.actors)
    elif kind == "objects":
        rows = _objects(engine)
    else:
        rows = []  # there are no processes
    return rows, len(rows)


def _id(engine: InlineEngine, number: int) -> str | None:
    return f"{engine.epoch}{number:016x}" if number else None


def _task(engine: InlineEngine, number: int, name: str, kind: str, actor: int) -> Row:
    context = engine.context()
    return {
        "task_id": _id(engine, number),
        "attempt_number": 0,
        "name": name,
        "state": "RUNNING",
        "job_id": context["job_id"],
        "actor_id": _id(engine, actor),
        "type": kind,
        "func_or_class_name": name,
        "parent_task_id": None,
        "node_id": context["node_id"],
        "worker_id": context["worker_id"],
        "worker_pid": os.getpid(),
        "error_type": None,
        "language": "PYTHON",
        "required_resources": {},
        "placement_group_id": None,
        "creation_time_ms": None,
        "start_time_ms": None,
        "end_time_ms": None,
    }


def _running(engine: InlineEngine, running: Running, parent: int) -> Row:
    task = running.task
    actor = 0 if task.actor is None else task.actor.id
    row = _task(engine, running.id, task.name, task.kind, actor)
    row["attempt_number"] = running.attempt
    row["parent_task_id"] = _id(engine, parent)
    row["required_resources"] = {name: n for name, n in task.resources.items() if n}
    row["creation_time_ms"] = row["start_time_ms"] = running.began_s * 1000
    return row


def _ended(
    engine: InlineEngine,
    number: int,
    name: str,
    kind: str,
    actor: int,
    parent: int,
    began_s: float,
    ended_s: float,
    error: str | None,
) -> Row:
    row = _task(engine, number, name, kind, actor)
    row["state"] = "FINISHED" if error is None else "FAILED"
    if error is not None:
        row["error_type"] = _ERROR_TYPES.get(error, "DEPENDENCY_RESOLUTION_FAILED")
    row["parent_task_id"] = _id(engine, parent)
    row["creation_time_ms"] = row["start_time_ms"] = began_s * 1000
    row["end_time_ms"] = ended_s * 1000
    return row


def actor_row(engine: InlineEngine, actor: InlineActor) -> Row:
    """What is told of an actor, as it is now."""
    death = actor.death
    cause = None
    if death is not None:
        from haz._core.errors import unpack_error

        cause = {"reason": death["reason"], "message": str(unpack_error(death))}
    state = "ALIVE" if actor.is_constructed else "PENDING_CREATION"
    context = engine.context()
    return {
        "actor_id": _id(engine, actor.id),
        "class_name": actor.class_name,
        "state": state if death is None else "DEAD",
        "job_id": context["job_id"],
        "name": actor.options.name or "",
        "node_id": context["node_id"],
        "pid": os.getpid(),
        "ray_namespace": actor.options.namespace or engine.namespace,
        "required_resources": {name: n for name, n in actor.resources.items() if n},
        "death_cause": cause,
        "is_detached": actor.options.detached,
        "placement_group_id": None if actor.place is None else _id(engine, actor.place.group.id),
        "num_restarts": actor.restarts,
    }


def _objects(engine: InlineEngine) -> list[Row]:
    return [
        {
            "object_id": _id(engine, number),
            "object_size": entry.size,
            "task_status": "FINISHED" if entry.error is None else "FAILED",
            "reference_type": "LOCAL_REFERENCE" if entry.actor is None else "ACTOR_HANDLE",
            "reference_count": 1,
            "in_object_store": True,
            "task_id": None,
            "created_by": engine.context()["worker_id"],
        }
        for number, entry in sorted(engine.entries.items())
    ]
