"""``haz.timeline``: what ran when and where, for a trace viewer."""

from __future__ import annotations

import time

from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

__all__ = ["timeline"]

_US_PER_MS = 1000


def timeline(filename: str | os.PathLike[str] | None = None) -> list[dict[str, Any]] | None:
    """Return what ran when, in the format of Chrome's traces, or write it to a file.

    Such a file is shown by https://ui.perfetto.dev and ``chrome://tracing``: a row for each worker
    process, and a bar for the last attempt of each task. Of tasks that have ended the latest 8192
    are known.

    Parameters
    ----------
    filename
        File to write, as JSON; then None is returned.
    """
    rows, _ = runtime.ensure().list_state("tasks")
    now_ms = time.time() * 1000
    events: list[dict[str, Any]] = []
    processes: dict[int, str] = {}
    for row in rows:
        began_ms = row["start_time_ms"]
        pid = row["worker_pid"]
        if began_ms is None or pid is None:
            continue
        processes[pid] = row["worker_id"]
        ended_ms = row["end_time_ms"] or now_ms
        events.append(
            {
                "cat": "task" if row["type"] == "NORMAL_TASK" else "actor_task",
                "name": row["name"],
                "ph": "X",
                "pid": pid,
                "tid": pid,
                "ts": began_ms * _US_PER_MS,
                "dur": max(ended_ms - began_ms, 0) * _US_PER_MS,
                "args": {
                    name: row[name]
                    for name in (
                        *("task_id", "state", "attempt_number", "actor_id", "parent_task_id"),
                        *("job_id", "error_type", "creation_time_ms"),
                    )
                    if row[name] is not None
                },
            }
        )
    events.sort(key=lambda event: event["ts"])
    for pid, worker in sorted(processes.items()):
        shown = {"name": f"worker {worker} (pid {pid})"}
        events.append({"name": "process_name", "ph": "M", "pid": pid, "tid": pid, "args": shown})
    if filename is None:
        return events
    import json

    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None
