"""What the page and the widget of clusters ask for: to see, start and stop clusters."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from haz.ipyparallel.cluster import running_in_this_program, shared_engines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["PANEL", "answer"]

#: The front end of both: a module for browsers, of anywidget's form.
PANEL = os.path.join(os.path.dirname(__file__), "cluster_panel.js")

_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,63}")
_MOST_ENGINES = 10_000
#: Seconds that the command may take.
_PATIENCE_S = 120


def answer(request: Any) -> dict[str, Any]:
    """Do what a request asks for: {"op": "list"}, "start" (with name, n) or "stop" (name, where).

    Returns
    -------
    dict
        clusters: [{name, where, engines}], `where` "shared" (of ``haz cluster start``) or "program"
        (of this process); cpus; said: what there is to say; error: what went wrong, or None.
    """
    said, error = "", None
    try:
        said = _act(request)
    except (ValueError, RuntimeError, OSError, subprocess.SubprocessError) as failure:
        error = str(failure)
    cpus = len(os.sched_getaffinity(0))
    return {"clusters": _all_clusters(), "cpus": cpus, "said": said, "error": error}


def _act(request: Any) -> str:
    if not isinstance(request, dict):
        raise ValueError("a request is an object with an 'op'")
    op = request.get("op")
    if op == "list":
        return ""
    if op not in ("start", "stop"):
        raise ValueError(f"there is no op {op!r}: list, start and stop")
    name = request.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("a name has letters, digits, '_', '-' and '.', and up to 64 of them")
    if op == "start":
        return _start(name, request.get("n"))
    if request.get("where") == "program":
        return _stop_here(name)
    _command("stop", "--profile", name)
    return f"The cluster {name} was stopped."


def _start(name: str, n: Any) -> str:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MOST_ENGINES:
        raise ValueError(f"a cluster has 1 to {_MOST_ENGINES} engines")
    _command("start", "-n", str(n), "--profile", name)
    option = "" if name == "default" else f"profile={name!r}"
    return f"The cluster {name} runs. Use it: ipp.Client({option})"


def _stop_here(name: str) -> str:
    for state in running_in_this_program():
        if state.cluster_id == name:
            state.stop("it was stopped by hand")
            return f"The cluster {name} was stopped."
    raise ValueError(f"this program has no cluster {name}")


def _command(*arguments: str) -> None:
    """Run ``haz cluster ...``, in a process of its own, as this one may have a node already."""
    done = subprocess.run(
        [sys.executable, "-m", "haz", "cluster", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().removeprefix("Error: ") or "it failed")


def _all_clusters() -> list[dict[str, Any]]:
    shared = [
        {"name": name, "where": "shared", "engines": engines}
        for name, engines in sorted(shared_engines().items())
    ]
    here = [
        {"name": state.cluster_id, "where": "program", "engines": engines}
        for state in running_in_this_program()
        if not state.is_shared and (engines := [engine.id for engine in state.engines()])
    ]
    return shared + here
