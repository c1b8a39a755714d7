"""haz as a scheduler of dask: ``collection.compute(scheduler=haz.dask.get)``.

Each node of a graph is a task, and what it makes stays in the object store until the nodes that need
it have run: arrays and data frames between tasks are not copied.
"""

from __future__ import annotations

from collections import Counter, deque

from dask._task_spec import Alias, DataNode, convert_legacy_graph, cull, fuse_linear_task_spec
from dask.callbacks import local_callbacks, unpack_callbacks
from dask.core import flatten
from dask.local import nested_get
from dask.order import order
from dask.utils import ensure_dict

from haz._core.api import cancel, cluster_resources, put, wait
from haz._core.api import get as get_values
from haz._core.lifecycle import init, is_initialized
from haz._core.process_state import plain_output
from haz._core.remote import remote
from haz._faces.private import writable
from haz._faces.progress import check_progress, show_progress
from haz.exceptions import HazError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz._faces.progress import Shown

__all__ = ["get"]

#: Tasks under way for each CPU. Later ones wait for earlier ones to end, so that what is made is used
#: up before more is made: dask has put them in such an order.
_AHEAD = 16


def _run_node(node: Any, keys: tuple[Any, ...], *values: Any) -> Any:
    with plain_output():
        return node(dict(zip(keys, writable(list(values)), strict=True)))


def get(
    dsk: Mapping[Any, Any],
    keys: Any,
    *,
    num_workers: int | None = None,
    optimize_graph: bool = True,
    progress: bool | str | Callable[[int, int | None, int], object] = False,
    callbacks: Any = None,
    **_: Any,
) -> Any:
    """Compute keys of a graph of dask's in tasks of haz.

    Parameters
    ----------
    dsk
        The graph.
    keys
        A key, or lists of keys, nested as deep as you like.
    num_workers
        The most tasks at a time. Default: one for each CPU of the node.
    optimize_graph
        Run chains of nodes as one task. Default True.
    progress
        Whether to show a bar; its text; or a function, as of `haz.map`.
    callbacks
        Callbacks of dask's; those of `with` blocks are called too. Values of intermediate nodes are
        None there.

    Returns
    -------
    object
        The values of the keys, in tuples nested as the keys are. Their arrays are writable.

    Raises
    ------
    TaskError
        Where a node raised: an instance of the exception's own type too. What has not run is cancelled.

    Notes
    -----
    Pass it to ``compute``, or to ``dask.config.set(scheduler=haz.dask.get)``. haz is initialized if it
    is not. `num_workers` and the others can be arguments of ``compute``.
    """
    check_progress(progress)
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"num_workers must be 1 or more, not {num_workers}")
    if not is_initialized():
        init()
    if hasattr(dsk, "__dask_graph__"):
        dsk = dsk.__dask_graph__()
    wanted = set(flatten([keys]))
    graph = cull(convert_legacy_graph(ensure_dict(dsk)), wanted)
    if optimize_graph:
        try:
            graph = fuse_linear_task_spec(graph, wanted)
        except KeyError:
            order(graph)  # names the cycle, if it is one
            raise
    with local_callbacks(callbacks) as found:
        run = _Run(graph, wanted, num_workers, found)
        shown = show_progress(progress, "dask", len(graph))
        results = run.compute(shown)
    return nested_get(keys, results)


class _Run:
    """One computation of a graph."""

    def __init__(
        self, graph: dict[Any, Any], wanted: set[Any], num_workers: int | None, callbacks: Any
    ) -> None:
        cpus = max(int(cluster_resources().get("CPU", 1)), 1)
        share = 1.0
        if num_workers is not None:
            share = max(int(10_000 * cpus / num_workers), 1) / 10_000  # as fine as resources are
        self._run_node = remote(name="dask", num_cpus=share)(_run_node)
        self._graph = graph
        self._wanted = wanted
        self._most = _AHEAD * cpus
        self._refs: dict[Any, ObjectRef[Any]] = {}
        #: How many nodes that were not submitted need a key.
        self._users = Counter(key for node in graph.values() for key in node.dependencies)
        self._under_way: dict[ObjectRef[Any], Any] = {}
        unpacked = unpack_callbacks(callbacks)
        self._start, self._start_state, self._before, self._after, self._finish = unpacked
        self._state: dict[str, Any] = {
            "waiting": dict.fromkeys(graph),
            "ready": deque(),
            "running": set(),
            "finished": set(),
            "cache": {},
        }

    def compute(self, shown: Shown | None) -> dict[Any, Any]:
        """Return the values of the wanted keys."""
        failed = True
        for callback in self._start:
            callback(self._graph)
        for callback in self._start_state:
            callback(self._graph, self._state)
        try:
            results = self._compute(shown)
            failed = False
            return results
        finally:
            for ref in self._under_way:
                try:
                    cancel(ref)
                except HazError:
                    pass  # haz was shut down
            for callback in self._finish:
                callback(self._graph, self._state, failed)
            if shown is not None:
                shown.close()

    def _compute(self, shown: Shown | None) -> dict[Any, Any]:
        priorities = order(self._graph)
        for key in sorted(self._graph, key=priorities.__getitem__):
            while len(self._under_way) >= self._most:
                self._wait_for_some(shown)
            self._submit(key)
        while self._under_way:
            self._wait_for_some(shown)
        names = list(self._wanted)
        values = get_values([self._refs[name] for name in names])
        return dict(zip(names, (writable(value) for value in values), strict=True))

    def _submit(self, key: Any) -> None:
        node = self._graph[key]
        for callback in self._before:
            callback(key, self._graph, self._state)
        del self._state["waiting"][key]
        needed = tuple(node.dependencies)
        if isinstance(node, Alias):
            self._refs[key] = self._refs[node.target]
            self._note_end(key)
        elif isinstance(node, DataNode):
            self._refs[key] = put(node.value)
            self._note_end(key)
        else:
            refs = [self._refs[name] for name in needed]
            ref = self._refs[key] = self._run_node.remote(node, needed, *refs)
            self._under_way[ref] = key
            self._state["running"].add(key)
        for name in needed:
            self._users[name] -= 1
            if not self._users[name] and name not in self._wanted:
                del self._refs[name]  # tasks that need it keep it

    def _wait_for_some(self, shown: Shown | None) -> None:
        refs = list(self._under_way)
        ready, _ = wait(refs)
        if len(refs) > 1:
            ready, _ = wait(refs, num_returns=len(refs), timeout=0)
        for ref in ready:
            get_values(ref)  # raises its error, so that the rest need not run
            key = self._under_way.pop(ref)
            self._state["running"].discard(key)
            self._note_end(key)
        if shown is not None:
            shown.update(len(self._state["finished"]), 0)

    def _note_end(self, key: Any) -> None:
        self._state["finished"].add(key)
        for callback in self._after:
            callback(key, None, self._graph, self._state, "haz")
