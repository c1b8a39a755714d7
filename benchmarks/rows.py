"""The rows of the table: what is measured, with which sizes, and which limit stands beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

LARGE_BYTES = 100_000_000
NAP_S = 0.0001
SUBMITTERS = 8
ACTORS = 4
ENGINES = 4
MILLION = 1_000_000

#: Factor from seconds, bytes or a share to the unit that is printed.
UNITS: dict[str, float] = {"us": 1e6, "ms": 1e3, "s": 1.0, "MB": 1e-6, "%": 100.0}


class Kind(Enum):
    """How a row is measured."""

    OPERATION = "an operation of the system, called in its session"
    QUEUE = "queue_submit, queue_drain, queue_release, with the memory sampled between"
    LIFE = "a stage of a fresh program (benchmarks/programs)"


@dataclass(frozen=True)
class Row:
    """One line of the table; lower is better in all of them."""

    name: str
    title: str
    unit: str
    kind: Kind = Kind.OPERATION
    method: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Items of one operation, by system; the systems that are slower get fewer. Empty: no ``n``.
    sizes: Mapping[str, int] = field(default_factory=dict)
    per_item: bool = True  #: divide the seconds by the number of items
    shrinks: bool = True  #: ``--quick`` divides the number of items by 10
    repeats: int = 5  #: at most, in one round
    budget_s: float = 1.0  #: no repeat starts later than this
    warm_up: bool = True  #: one repeat before, not counted
    busy: bool = False  #: keep every core busy meanwhile
    first: bool = False  #: runs before the other rows of the session
    limits: tuple[str, ...] = ()  #: ``probe/metric``; the smallest of them is the row's limit
    paired: bool = False  #: alternate haz and the limit, repeat by repeat

    def size(self, system: str, quick: bool) -> int:
        """Number of items of one operation on ``system``."""
        n = self.sizes.get(system, self.sizes["default"]) if self.sizes else 1
        return max(8, n // 10) if quick and self.sizes and self.shrinks else n


def _sizes(default: int, **by_system: int) -> dict[str, int]:
    return {"default": default, **by_system}


def _sync_rows() -> Iterable[Row]:
    for busy in (False, True):
        for pause_us, pause_text, n in ((0, "back to back", 100_000), (200, "0.2 ms pauses", 2000),
                                        (5000, "5 ms pauses", 200)):  # fmt: skip
            load = "busy" if busy else "idle"
            probe = f"pingpong-{pause_us}-{load}"
            yield Row(
                name=f"sync-{pause_us}-{load}",
                title=f"sync call p50, {pause_text}, {'all cores busy' if busy else 'idle'}",
                unit="us",
                method="sync_call",
                arguments={"pause_s": pause_us / 1e6, "budget_s": 0.7},
                sizes=_sizes(n),
                per_item=False,
                shrinks=False,
                repeats=1,
                warm_up=False,
                busy=busy,
                limits=(f"{probe}/spin", f"{probe}/futex", f"{probe}/pipe"),
            )


def _cpp_rows() -> Iterable[Row]:
    yield Row("cpp-sync", "sync call of a C++ task p50, by a C++ program", "us",
              method="cpp_sync_call", arguments={"budget_s": 0.4}, sizes=_sizes(100_000),
              per_item=False, shrinks=False, repeats=3, warm_up=False,
              limits=("pingpong-0-idle/futex",), paired=True)  # fmt: skip
    yield Row("cpp-async", "1 000 000 no-op tasks of one C++ program, each", "us",
              method="cpp_async_calls", sizes=_sizes(MILLION), repeats=3, warm_up=False,
              budget_s=6.0, limits=("ring/per_task",))  # fmt: skip
    yield Row("cpp-map", "1 000 000 no-op items of one map() of a C++ program, each", "us",
              method="cpp_map", sizes=_sizes(MILLION), repeats=3, warm_up=False,
              budget_s=4.0, limits=("ring/per_task",))  # fmt: skip


def _actor_rows() -> Iterable[Row]:
    yield Row(
        "actor-sync",
        "sync call of an actor p50, back to back",
        "us",
        method="sync_actor_call",
        arguments={"budget_s": 0.7},
        sizes=_sizes(100_000),
        per_item=False,
        shrinks=False,
        repeats=1,
        warm_up=False,
        limits=("pingpong-0-idle/spin", "pingpong-0-idle/futex", "pingpong-0-idle/pipe"),
    )
    calls = _sizes(20_000, ray=2000)
    for name, title, method, arguments in (
        ("actor-async", "async call of an actor", "async_actor_calls", {"actors": 1}),
        ("actor-1-n", f"the same of {ACTORS} actors", "async_actor_calls", {"actors": ACTORS}),
        ("actor-n-n", f"the same by {ACTORS} tasks", "actor_calls_from_workers",
         {"callers": ACTORS}),
        ("actor-argument", "async call of an actor with an int that comes back",
         "actor_calls_with_argument", {}),
        ("asyncio-actor", "async call of a coroutine method", "asyncio_actor_calls",
         {"actors": 1}),
        ("asyncio-actor-1-n", f"the same of {ACTORS} actors", "asyncio_actor_calls",
         {"actors": ACTORS}),
        ("asyncio-actor-n-n", f"the same by {ACTORS} tasks", "asyncio_actor_calls_from_workers",
         {"callers": ACTORS}),
    ):  # fmt: skip
        yield Row(
            name,
            title,
            "us",
            method=method,
            arguments=arguments,
            sizes=calls,
            repeats=3,
            limits=("ring/per_task",),
        )
    yield Row("actor-create", "an actor made and called", "ms", method="create_actors",
              sizes=_sizes(40, ray=4), shrinks=False, repeats=3)  # fmt: skip
    yield Row("actor-restart", "an actor's process killed, and a call of the next", "ms",
              method="restart_actor", sizes=_sizes(10, ray=2), shrinks=False, repeats=2,
              warm_up=False)  # fmt: skip


def _engine_rows() -> Iterable[Row]:
    yield Row("engines-start", "a cluster of 4 engines started and used", "ms",
              method="start_engines", arguments={"workers": ENGINES}, repeats=1,
              warm_up=False)  # fmt: skip
    yield Row("engines-memory", "idle memory of the cluster's processes (PSS)", "MB",
              method="engines_memory", arguments={"workers": ENGINES}, repeats=1,
              warm_up=False)  # fmt: skip
    yield Row(
        "engine-sync",
        "sync call of an engine p50",
        "us",
        method="sync_engine_call",
        arguments={"budget_s": 0.7},
        sizes=_sizes(20_000),
        per_item=False,
        shrinks=False,
        repeats=1,
        limits=("pingpong-0-idle/spin", "pingpong-0-idle/futex", "pingpong-0-idle/pipe"),
    )
    yield Row("engine-balanced", "load-balanced call of engines", "us", method="balanced_calls",
              sizes=_sizes(4000, ipyparallel=200), repeats=3,
              limits=("ring/per_task",))  # fmt: skip
    yield Row("engine-map", "item of a map on engines", "us", method="map_on_engines",
              sizes=_sizes(10_000), repeats=3)  # fmt: skip
    yield Row("engine-push", "100 MB pushed to all engines", "ms", method="push_to_engines",
              arguments={"size": LARGE_BYTES}, repeats=3,
              limits=("copy/warm_nt_2",))  # fmt: skip


def _drop_in_rows() -> Iterable[Row]:
    """Programs for the standard library, joblib and dask, with another import."""
    ring = ("ring/per_task",)
    yield Row("pool-calls", "Pool.apply_async of a no-op", "us", method="pool_apply_async",
              sizes=_sizes(20_000), repeats=3, limits=ring)  # fmt: skip
    yield Row("pool-map", "item of a Pool.map of 20 000", "us", method="pool_map",
              sizes=_sizes(20_000), repeats=3, limits=ring)  # fmt: skip
    yield Row("pool-start", "a Pool, and a result of each process", "ms", method="pool_start",
              repeats=3)  # fmt: skip
    yield Row("pool-argument", "100 MB as the argument of 4 calls", "ms", method="pool_argument",
              arguments={"size": LARGE_BYTES}, sizes=_sizes(4), per_item=False, shrinks=False,
              repeats=2)  # fmt: skip
    yield Row("queue-items", "small item through a multiprocessing.Queue", "us",
              method="queue_items", sizes=_sizes(20_000), repeats=3, limits=ring)  # fmt: skip
    yield Row("queue-round-trip", "an item through one Queue, its answer through another, p50",
              "us", method="queue_round_trip", arguments={"budget_s": 0.5}, sizes=_sizes(5000),
              per_item=False, shrinks=False, repeats=1,
              limits=("pingpong-0-idle/spin", "pingpong-0-idle/futex"))  # fmt: skip
    yield Row("process", "multiprocessing.Process started and joined", "ms",
              method="process_life", sizes=_sizes(20), repeats=2)  # fmt: skip
    yield Row("executor-calls", "Executor.submit of a no-op", "us", method="executor_submit",
              sizes=_sizes(20_000, executor=5000), repeats=3, limits=ring)  # fmt: skip
    yield Row("joblib-calls", "call of a joblib.Parallel of 20 000", "us", method="joblib_calls",
              sizes=_sizes(20_000), repeats=3)  # fmt: skip
    yield Row("joblib-cold", "the first joblib.Parallel, of 1000 calls", "ms",
              method="joblib_cold", sizes=_sizes(1000), per_item=False, shrinks=False, repeats=3,
              warm_up=False, budget_s=5.0)  # fmt: skip
    yield Row("nested-blas", "16 matrix products in calls of a pool", "ms", method="nested_blas",
              sizes=_sizes(16), per_item=False, shrinks=False, repeats=3,
              budget_s=2.0)  # fmt: skip
    yield Row("dask-graph", "dask array of 1000 chunks, summed", "ms", method="dask_graph",
              sizes=_sizes(1024), per_item=False, repeats=2)  # fmt: skip


def _rows() -> Iterable[Row]:
    yield Row("startup", "import + init + first task", "ms", Kind.LIFE,
              limits=("interpreter/bare",))  # fmt: skip
    yield Row(
        "async",
        "async no-op task",
        "us",
        method="async_noop",
        sizes=_sizes(20_000, ray=2000, executor=5000, dask=300),
        limits=("ring/per_task",),
    )
    yield Row(
        "identity",
        "async task with an int that comes back",
        "us",
        method="async_identity",
        sizes=_sizes(20_000, ray=1000, executor=5000, dask=300),
        limits=("ring/per_task",),
    )
    yield Row(
        "py-cpp-async",
        "async no-op task of C++, called from Python",
        "us",
        method="async_cpp_noop",
        sizes=_sizes(20_000),
        limits=("ring/per_task",),
    )
    yield Row(
        "py-cpp-sync",
        "sync call of a C++ function from Python p50",
        "us",
        method="sync_cpp_call",
        arguments={"budget_s": 0.7},
        sizes=_sizes(100_000),
        per_item=False,
        shrinks=False,
        repeats=1,
        warm_up=False,
        limits=("pingpong-0-idle/spin", "pingpong-0-idle/futex", "pingpong-0-idle/pipe"),
    )
    sleep_sizes = _sizes(20_000, ray=1000, executor=2000, dask=300)
    yield Row(
        "sleep",
        "task of sleep(0.0001)",
        "us",
        method="sleep_flat",
        arguments={"seconds": NAP_S},
        sizes=sleep_sizes,
        warm_up=False,
        repeats=2,
        limits=("sleep_loop/per_sleep",),
        paired=True,
    )
    yield Row(
        "sleep-nested",
        "the same in 20 nested batches",
        "us",
        method="sleep_nested",
        arguments={"seconds": NAP_S, "batches": 20},
        sizes=sleep_sizes,
        warm_up=False,
        repeats=2,
        limits=("sleep_loop/per_sleep",),
        paired=True,
    )
    yield from _sync_rows()
    yield Row("idle-cpu", "idle CPU use, of one core", "%", Kind.LIFE)
    large = {"size": LARGE_BYTES}
    yield Row(
        "put-cold",
        "put 100 MB, first",
        "ms",
        method="put_large",
        arguments=large,
        repeats=1,
        warm_up=False,
        first=True,
        limits=(
            "copy/cold_memcpy_1",
            "copy/cold_memcpy_2",
            "copy/cold_allocated_2",
            "copy/cold_write_1",
            "copy/cold_write_2",
        ),
        paired=True,
    )
    yield Row(
        "put-warm",
        "put 100 MB, steady state",
        "ms",
        method="put_large",
        arguments=large,
        repeats=9,
        limits=("copy/warm_nt_2",),
        paired=True,
    )
    yield Row(
        "get",
        "get 100 MB",
        "us",
        method="get_large",
        arguments=large,
        sizes=_sizes(200, ray=50, dask=3),
        per_item=False,
        shrinks=False,
        repeats=3,
        limits=("python/loads_view",),
    )
    yield Row(
        "put-int",
        "put of an int",
        "us",
        method="put_int",
        sizes=_sizes(10_000, ray=500),
        limits=("python/dumps_int",),
    )
    yield Row(
        "wait",
        "wait over 1000 refs one by one, a ref",
        "us",
        method="wait_one_by_one",
        sizes=_sizes(1000),
        shrinks=False,
        repeats=3,
        limits=("ring/per_task",),
    )
    yield Row(
        "ref-args",
        "10 000 refs as arguments, a ref",
        "us",
        method="ref_args",
        sizes=_sizes(10_000, ray=2000),
        repeats=3,
        limits=("python/loads_int",),
    )
    yield Row(
        "returns",
        "3 000 returns, each",
        "us",
        method="many_returns",
        sizes=_sizes(3000),
        repeats=3,
        limits=("python/loads_int",),
    )
    yield Row(
        "get-many",
        "get of 10 000, each",
        "us",
        method="get_many",
        sizes=_sizes(10_000, ray=2000),
        repeats=3,
        limits=("python/loads_int",),
    )
    for name, title, arguments in (
        ("generator", "item of a generator task, got", {}),
        ("generator-limit", "the same, at most 16 items ahead", {"items_ahead": 16}),
    ):
        yield Row(
            name,
            title,
            "us",
            method="stream_items",
            arguments=arguments,
            sizes=_sizes(20_000, ray=1000),
            repeats=3,
            limits=("ring/per_task",),
        )
    yield Row(
        "generator-nested",
        "item that a task gets from its own generator task",
        "us",
        method="stream_items_in_task",
        sizes=_sizes(5000, ray=500),
        repeats=3,
        limits=("ring/per_task",),
    )
    queue_sizes = _sizes(MILLION, ray=3000, pool=20_000, executor=5000, dask=500)
    yield Row("queued", "1 000 000 queued no-ops, each", "us", Kind.QUEUE, sizes=queue_sizes,
              limits=("ring/per_task",))  # fmt: skip
    yield Row("queued-memory", "their memory, for the million", "MB", Kind.QUEUE,
              sizes=queue_sizes, per_item=False)  # fmt: skip
    yield Row(
        "submitters",
        f"task submitted from {SUBMITTERS} workers at once",
        "us",
        method="submit_from_workers",
        arguments={"submitters": SUBMITTERS},
        sizes=_sizes(80_000, ray=800),
        repeats=3,
        limits=("ring/per_task",),
    )
    yield Row(
        "drivers",
        f"task submitted by {SUBMITTERS} programs at once",
        "us",
        method="submit_from_drivers",
        arguments={"drivers": SUBMITTERS},
        sizes=_sizes(80_000),
        repeats=2,
        warm_up=False,
        limits=("ring/per_task",),
    )
    yield Row("attach", "a long-lived node joined by a new program", "ms", method="attach",
              sizes=_sizes(5), per_item=False, shrinks=False, repeats=1,
              warm_up=False)  # fmt: skip
    yield from _cpp_rows()
    yield from _actor_rows()
    yield from _engine_rows()
    yield from _drop_in_rows()
    yield Row("placement-group", "a placement group made, waited for and removed", "us",
              method="placement_groups", sizes=_sizes(200, ray=50), shrinks=False,
              repeats=3)  # fmt: skip
    yield Row("memory", "idle memory (PSS, all processes)", "MB", Kind.LIFE,
              limits=("forks/plain_bytes",))  # fmt: skip
    yield Row("memory-numpy", "the same with numpy in all", "MB", Kind.LIFE,
              limits=("forks/numpy_bytes",))  # fmt: skip
    yield Row("shutdown", "shutdown", "ms", Kind.LIFE, limits=("forks/down",))


ROWS: dict[str, Row] = {row.name: row for row in _rows()}
