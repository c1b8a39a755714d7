"""The inline engine: a task runs at once, in the thread that calls ``.remote()``. For debuggers.

Breakpoints, ``pdb``, profilers and mocks see tasks as plain calls, deep in the caller's stack. All
else is as in the native engine: arguments and results are pickled, so that nothing is shared by
accident and arrays come back read-only; errors are the same; what can't be pickled is refused.

What differs: the function itself is not copied, so it sees the driver's globals. A task that has
a ref has finished, so ``cancel`` has no effect and ``wait`` never waits. ``timeout_s`` interrupts
only in the main thread, and is only checked afterwards elsewhere; under a debugger it is ignored.

Actors live in the process too: see `haz.engines.inline_actors`. Generators go on as their items are
taken: see `haz.engines.inline_streams`. What is stored is in `inline_objects`, a call with its
arguments in `inline_calls`, what surrounds code that runs in `inline_running`.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from itertools import count
from weakref import WeakKeyDictionary, WeakValueDictionary

from haz._core import serialize
from haz._core.checks import (
    check_detached,
    check_waitables,
    force_on_actor_call,
    not_a_ref,
)
from haz._core.errors import through_task, unpack_error
from haz._core.gpus import gpu_names, gpu_resources, shown_ids
from haz._core.refs import ObjectRef
from haz._core.returns import split_returns
from haz._core.runtime import runtime
from haz.engines.base import place_of
from haz.engines.inline_calls import Arguments, BoundTask, undecodable
from haz.engines.inline_interrupts import Expired, Interrupts
from haz.engines.inline_objects import Entry, InlineRef
from haz.engines.inline_running import InlineGpus, Inside, PlaceInGroup, Running
from haz.engines.inline_state import InlineHistory
from haz.exceptions import (
    InfeasibleResourcesError,
    ObjectLostError,
    ObjectStoreFullError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from haz._core.environment_setup import Environment
    from haz.engines.base import (
        ActorOptions,
        Again,
        Descriptor,
        GroupInfo,
        InitOptions,
        MethodOptions,
        Place,
        TaskOptions,
    )
    from haz.engines.inline_actors import InlineActor, InlineActors
    from haz.engines.inline_calls import BoundCall
    from haz.engines.inline_groups import InlineGroups
    from haz.engines.inline_streams import InlineStream

__all__ = ["InlineEngine", "create_engine"]

_EPSILON = 1e-9


def create_engine(options: InitOptions) -> InlineEngine:
    """Make the engine for ``haz.init(engine="inline")``."""
    return InlineEngine(options)


class _PerThread(threading.local):
    """What an engine keeps for each thread."""

    def __init__(self) -> None:
        #: Where refs go that are being pickled: None outside of the engine.
        self.collector: list[InlineRef] | None = None
        #: The tasks that run in this thread, the innermost last.
        self.stack: list[Running] = []


class InlineEngine:
    """Runs tasks in the caller's thread; see the module. Thread-safe."""

    name = "inline"

    def __init__(self, options: InitOptions) -> None:
        self.options = options
        self.epoch = os.urandom(8).hex()
        self.entries: WeakValueDictionary[int, Entry] = WeakValueDictionary()
        self.freed_bytes: deque[int] = deque()
        self.ended = False
        self._numbers = count(1)
        self._used_bytes = 0
        self._pinned: list[InlineRef] = []
        self._checked: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._here = _PerThread()
        self._stacks: WeakKeyDictionary[threading.Thread, list[Running]] = WeakKeyDictionary()
        self._interrupts = Interrupts()
        self.history = InlineHistory()
        gpus = gpu_names(options.num_gpus)
        self.gpus = InlineGpus(gpus)
        self._totals = _totals(options, gpus)
        self._limit = int(self._totals["object_store_memory"])
        self._actors: InlineActors | None = None
        self._groups: InlineGroups | None = None
        self._environments: dict[bytes, Environment] = {}

    # ---- tasks ---------------------------------------------------------------------------------

    def bind_task(
        self,
        function: Callable[..., Any],
        options: TaskOptions,
        descriptor: Descriptor,
        again: Again,
    ) -> Callable[..., Any]:
        """See :class:`haz.engines.base.Engine`."""
        task = BoundTask(self, function, options, descriptor, again)
        self.check_feasible(f"task {task.name}", task.resources)
        task.placement = place_of(self, options, task.resources, task.name)
        self.check_picklable(function, descriptor)
        return task

    def check_feasible(self, who: str, resources: dict[str, float]) -> None:
        """Raise InfeasibleResourcesError for what the node can never give."""
        for name, amount in resources.items():
            if amount > self._totals.get(name, 0.0) + _EPSILON:
                raise InfeasibleResourcesError(
                    f"{who} asks for {amount:g} {name}, and the node has "
                    f"{self._totals.get(name, 0.0):g}: see haz.init and haz.cluster_resources()"
                )

    def check_picklable(self, function: Callable[..., Any], descriptor: Descriptor) -> None:
        """Raise SerializationError for a function or class that other engines couldn't copy."""
        if descriptor not in self._checked:
            self._collect(serialize.dump_function, function)
            self._checked[descriptor] = True

    def run(self, task: BoundCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Run a call of `task`; return its refs."""
        arguments = Arguments(self, task.descriptor, args, kwargs)
        number = next(self._numbers)
        results, error = self.execute(task, arguments, number)
        if error is not None:
            results = [self.error_entry(error) for _ in range(task.num_results)]
        for entry in results:
            entry.is_of_actor = task.actor is not None
            entry.task = number
        return [self._ref(entry) for entry in results]

    def execute(
        self, task: BoundCall, arguments: Arguments, number: int
    ) -> tuple[list[Entry], dict[str, Any] | None]:
        """Run a call of `task`, of that number; return what it made, or the error."""
        began_s = time.time()
        error = task.refusal()
        place = None
        if error is None:
            place, error = task.find_place()
        if error is None and arguments.error is not None:
            error = through_task(arguments.error, task.name)
        results: list[Entry] = []
        if error is None:
            results, error = self._try(task, number, arguments, place)
        self.note_end(task, number, began_s, error)
        return results, error

    def note_end(
        self, task: BoundCall, number: int, began_s: float, error: dict[str, Any] | None
    ) -> None:
        """Keep that a task has ended, which began at that time, for `list_state`."""
        parent = self._here.stack[-1].id if self._here.stack else 0
        self.history.add_task(task, number, parent, began_s, error)

    def is_the_users(self, exc: BaseException) -> bool:
        """Whether `exc` comes from the user at the keyboard, and is not the task's own."""
        return self._interrupts.is_the_users(exc)

    def _try(
        self, task: BoundCall, number: int, arguments: Arguments, place: PlaceInGroup | None
    ) -> tuple[list[Entry], dict[str, Any] | None]:
        """Attempt a task until it succeeds or its retries are used up."""
        running = Running(task, number, place)
        while True:
            try:
                value = self._attempt(running, arguments)
                return [self.store(v) for v in split_returns(value, task.num_results)], None
            except Expired as expired:
                if expired.owner is not running:
                    raise
                error: dict[str, Any] = {
                    "kind": "timeout",
                    "task_name": task.name,
                    "timeout_s": task.timeout_s,
                }
                return [], error
            except ObjectStoreFullError as full:
                return [], {"kind": "object_store_full", "message": str(full)}
            except BaseException as exc:
                if self._interrupts.is_the_users(exc):
                    raise
                if not task.may_retry(exc, running.attempt):
                    return [], task.failure(exc)
                running.attempt += 1

    def _attempt(self, running: Running, arguments: Arguments) -> Any:
        args, kwargs = arguments.load()
        with self.inside(running, running.task.timeout_s):
            return running.task.call(args, kwargs)

    def base_environment(self) -> bytes:
        """The packed environment of the calling code, which what it submits inherits."""
        stack = self._here.stack
        return self.packed_environment(stack[-1]) if stack else self.options.environment

    def packed_environment(self, running: Running) -> bytes:
        """The whole environment of a task but for the variables of the program."""
        task = running.task
        if not task.environment and not task.env_vars:
            return running.base
        from haz._core.environment import merged, unpack

        return merged(unpack(running.base), task.environment, task.env_vars)

    def is_cancelled(self) -> bool:
        """See :class:`haz.engines.base.Engine`. Who could cancel a task waits for its end."""
        return False

    def is_wanted(self) -> bool:
        """See :class:`haz.engines.base.Engine`. Who called waits for the result."""
        return True

    def runtime_env(self) -> dict[str, Any]:
        """See :class:`haz.engines.base.Engine`."""
        from haz._core.environment import described, unpack

        return described(unpack(self.base_environment()), self.options.env_vars)

    def environment_of(self, running: Running) -> Environment | None:
        """What surrounds the task besides variables. Raises as the set-up does."""
        packed = self.packed_environment(running)
        if not packed:
            return None
        from haz._core.environment_setup import Environment

        known = self._environments.get(packed)
        if known is None:
            known = self._environments[packed] = Environment(packed)
        return known

    def inside(self, running: Running, timeout_s: float | None) -> Inside:
        """Return a context manager in which code of the task `running` runs."""
        stack = self._here.stack
        if not stack:
            self._stacks[threading.current_thread()] = stack
        return Inside(self, stack, running, self._interrupts.watch(running, timeout_s))

    # ---- placement groups ----------------------------------------------------------------------

    @property
    def groups(self) -> InlineGroups:
        """The placement groups, of which most programs have none."""
        if self._groups is None:
            from haz.engines.inline_groups import InlineGroups

            with self._lock:
                self._groups = self._groups or InlineGroups(self)
        return self._groups

    @property
    def has_groups(self) -> bool:
        """Whether there ever was one."""
        return self._groups is not None

    def create_placement_group(
        self,
        bundles: list[dict[str, float]],
        strategy: str,
        name: str,
        detached: bool,
    ) -> ObjectRef[Any]:
        """See :class:`haz.engines.base.Engine`."""
        if detached:
            check_detached()
        return self.groups.create(bundles, strategy, name)

    def remove_placement_group(self, group: ObjectRef[Any]) -> None:
        """See :class:`haz.engines.base.Engine`."""
        if isinstance(group, InlineRef) and group.entry.engine is self:
            self.groups.remove(group)

    def placement_groups(self, group: ObjectRef[Any] | None) -> list[GroupInfo]:
        """See :class:`haz.engines.base.Engine`."""
        return self.groups.info(group)

    def current_placement_group(self) -> tuple[ObjectRef[Any], bool] | None:
        """See :class:`haz.engines.base.Engine`."""
        place = self._current_place()
        if place is None or place.group.id not in self.entries:
            return None
        return self.groups.ref_of(place.group), place.captures

    def _current_place(self) -> PlaceInGroup | None:
        stack = self._here.stack
        if not stack:
            return None
        actor = stack[-1].task.actor
        return stack[-1].place if actor is None else actor.place

    def find_place(
        self, placement: Place | None, resources: dict[str, float], who: str
    ) -> tuple[PlaceInGroup | None, dict[str, Any] | None]:
        """The bundle for a task or actor, None for no group; or the error if it can't run."""
        index = -1
        if placement is not None:
            created, index, captures = placement
            if created is None:
                return None, None
            group = self.groups.of(created)
        else:
            outer = self._current_place()
            if outer is None or not outer.captures:
                return None, None
            group, captures = outer.group, True
        if group is None or group.is_removed:
            return None, {"kind": "group_removed", "task_name": who}
        bundle = group.bundle_for(index, resources)
        if bundle is None:
            return None, {
                "kind": "infeasible",
                "message": f"'{who}' asks for more than any bundle of its placement group has",
            }
        return PlaceInGroup(group, bundle, captures), None

    # ---- actors --------------------------------------------------------------------------------

    @property
    def actors(self) -> InlineActors:
        """The actors, of which most programs for this engine have none."""
        if self._actors is None:
            from haz.engines.inline_actors import InlineActors

            with self._lock:
                self._actors = self._actors or InlineActors(self)
        return self._actors

    def create_actor(
        self,
        cls: type,
        options: ActorOptions,
        descriptor: Descriptor,
        meta: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        """See :class:`haz.engines.base.Engine`."""
        if options.detached:
            check_detached()
        created = self.actors.create(cls, options, descriptor, meta, args, kwargs)
        if options.detached and isinstance(created[0], InlineRef):
            self._pinned.append(created[0])
        return created

    def bind_method(
        self,
        actor: ObjectRef[Any],
        method: str,
        options: MethodOptions,
        descriptor: Descriptor,
        again: Again,
        is_limited: bool = False,
    ) -> Callable[..., Any]:
        """See :class:`haz.engines.base.Engine`."""
        return self.actors.bind_method(actor, method, options, descriptor, again)

    def get_actor(self, name: str, namespace: str | None) -> tuple[ObjectRef[Any], bytes]:
        """See :class:`haz.engines.base.Engine`."""
        return self.actors.get(name, namespace)

    def current_actor(self) -> tuple[ObjectRef[Any], bytes] | None:
        """See :class:`haz.engines.base.Engine`."""
        actor = self.running_actor()
        return None if actor is None else (self.actors.ref_of(actor), actor.meta)

    def running_actor(self) -> InlineActor | None:
        """The actor whose method or constructor runs in this thread, innermost."""
        stack = self._here.stack
        return stack[-1].task.actor if stack else None

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """See :class:`haz.engines.base.Engine`."""
        return self.actors.list_named(all_namespaces)

    def named_actors(self, namespace: str) -> dict[str, tuple[int, int]]:
        """See :class:`haz.engines.base.Engine`."""
        named = self.actors.list_named(all_namespaces=True)
        return {name: (0, os.getpid()) for space, name in named if space == namespace}

    def kill_actor(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        """See :class:`haz.engines.base.Engine`."""
        self.actors.kill(actor, no_restart)

    def exit_actor(self) -> None:
        """See :class:`haz.engines.base.Engine`."""
        self.actors.exit_current()

    # ---- streams -------------------------------------------------------------------------------

    def _stream_of(self, ref: ObjectRef[Any]) -> InlineStream:
        from haz.engines.inline_streams import StreamEntry

        entry = self.entry_of(ref)
        if not isinstance(entry, StreamEntry):
            raise TypeError(f"{ref!r} is not the ref of a stream")
        return entry.stream

    def next_item(self, stream: ObjectRef[Any], timeout_s: float | None) -> ObjectRef[Any] | None:
        """See :class:`haz.engines.base.Engine`."""
        return self._stream_of(stream).take()

    def has_item(self, stream: ObjectRef[Any]) -> bool | None:
        """See :class:`haz.engines.base.Engine`."""
        return self._stream_of(stream).has_item()

    def end_of_stream(self, stream: ObjectRef[Any]) -> ObjectRef[int]:
        """See :class:`haz.engines.base.Engine`."""
        return self._stream_of(stream).end()

    def share_stream(self, stream: ObjectRef[Any]) -> None:
        """See :class:`haz.engines.base.Engine`."""

    # ---- objects -------------------------------------------------------------------------------

    def _collect(self, dump: Callable[[Any], Any], value: Any) -> tuple[Any, list[InlineRef]]:
        """Pickle with `dump`; return what it returns and the refs that it met."""
        outer = self._here.collector
        found: list[InlineRef] = []
        self._here.collector = found
        try:
            return dump(value), found
        finally:
            self._here.collector = outer

    def note_pickled(self, ref: InlineRef) -> None:
        """Keep the object of a ref that is being pickled for as long as it may be needed."""
        collector = self._here.collector
        if collector is not None:
            collector.append(ref)
            return
        self._pinned.append(ref)
        runtime.warn_once(
            "pickled_ref",
            f"{ref!r} was pickled outside of haz: its object is kept until haz.shutdown()",
        )

    def dump(self, value: Any) -> Entry:
        """Make an entry of `value`, not counted as stored yet."""
        (data, buffers), refs = self._collect(serialize.dumps, value)
        entry = Entry(self)
        entry.data, entry.refs = data, refs
        entry.buffers = [bytes(buffer.raw()) for buffer in buffers]
        return entry

    def store(self, value: Any) -> Entry:
        entry = self.dump(value)
        size = len(entry.data or b"") + sum(map(len, entry.buffers))
        with self._lock:
            while self.freed_bytes:
                self._used_bytes -= self.freed_bytes.popleft()
            if self._used_bytes + size > self._limit:
                raise ObjectStoreFullError(
                    f"an object of {size} bytes doesn't fit: {self._used_bytes} of "
                    f"{self._limit} bytes are in use. Drop refs that are not needed, or give "
                    f"haz.init(object_store_memory=...)"
                )
            self._used_bytes += size
        entry.size = size
        return entry

    def error_entry(self, error: dict[str, Any]) -> Entry:
        entry = Entry(self)
        entry.error = error
        return entry

    def _ref(self, entry: Entry) -> InlineRef:
        return self.ref_to(entry, next(self._numbers))

    def new_number(self) -> int:
        """A number for an id, never given before."""
        return next(self._numbers)

    @property
    def namespace(self) -> str:
        """The namespace of named actors, where none is given."""
        return self.options.namespace or self.epoch

    def ref_to(self, entry: Entry, number: int) -> InlineRef:
        """A ref of that id, which is the entry's."""
        self.entries[number] = entry
        return InlineRef(entry, number)

    def entry_of(self, ref: ObjectRef[Any]) -> Entry:
        """The entry of a ref; raises ObjectLostError for one of another engine."""
        if not isinstance(ref, InlineRef) or ref.entry.engine is not self:
            raise ObjectLostError(f"{ref!r} is from a run of haz that has ended")
        return ref.entry

    def ready_entry(self, ref: ObjectRef[Any]) -> Entry:
        """The entry of a ref, which is ready."""
        entry = self.entry_of(ref)
        entry.settle()
        return entry

    def put(self, value: Any) -> ObjectRef[Any]:
        """See :class:`haz.engines.base.Engine`."""
        return self._ref(self.store(value))

    def put_error(self, info: dict[str, Any]) -> ObjectRef[Any]:
        """See :class:`haz.engines.base.Engine`."""
        return self._ref(self.error_entry(info))

    def get_one(self, ref: Any) -> Any:
        """See :class:`haz.engines.base.Engine`."""
        return self.get((ref,), None)[0] if isinstance(ref, ObjectRef) else NotImplemented

    def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]:
        """See :class:`haz.engines.base.Engine`."""
        for ref in refs:
            if not isinstance(ref, ObjectRef):
                raise not_a_ref(ref)
        values = []
        for ref in refs:
            entry = self.ready_entry(ref)
            if entry.error is not None:
                raise unpack_error(entry.error)
            try:
                values.append(serialize.loads(entry.data, entry.buffers))
            except Exception as error:
                named = undecodable(error, ref, None, "")
                raise named from named.__cause__
        return values

    def wait(
        self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None
    ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]:
        """See :class:`haz.engines.base.Engine`."""
        check_waitables(refs)
        for ref in refs:
            self.entry_of(ref)
        for ref in refs[:num_returns]:
            self.ready_entry(ref)
        return list(refs[:num_returns]), list(refs[num_returns:])

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        """Cancel the task of a stream; any other has finished."""
        entry = self.entry_of(ref)
        if entry.is_of_actor and force:
            raise force_on_actor_call()
        entry.cancel()

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[], None]) -> None:
        """See :class:`haz.engines.base.Engine`."""
        self.ready_entry(ref)
        callback()

    def free(self, refs: Sequence[ObjectRef[Any]]) -> None:
        """See :class:`haz.engines.base.Engine`."""
        for ref in refs:
            entry = self.ready_entry(ref)
            # That of a placement group is no value of the user's.
            is_group = self._groups is not None and self._groups.of(ref) is not None
            if entry.error is None and not is_group:
                entry.drop({"kind": "freed", "message": f"{ref!r} was dropped by haz.free"})

    # ---- state ---------------------------------------------------------------------------------

    def cluster_resources(self) -> dict[str, float]:
        """See :class:`haz.engines.base.Engine`."""
        return dict(self._totals)

    def available_resources(self) -> dict[str, float]:
        """See :class:`haz.engines.base.Engine`. A task that waits for another holds nothing."""
        left = dict(self._totals)
        for stack in list(self._stacks.values()):
            for running in stack[-1:]:
                if running.place is not None:
                    continue
                for name, amount in running.task.resources.items():
                    left[name] = left.get(name, 0.0) - amount
        if self._actors is not None:
            for name, amount in self._actors.held_resources():
                left[name] = left.get(name, 0.0) - amount
        if self._groups is not None:
            for name, amount in self._groups.reserved():
                left[name] = left.get(name, 0.0) - amount
        return {name: amount for name, amount in left.items() if amount > _EPSILON}

    def nodes(self) -> list[dict[str, Any]]:
        """See :class:`haz.engines.base.Engine`."""
        return [
            {
                "NodeID": self.epoch,
                "Alive": True,
                "alive": True,
                "NodeManagerAddress": "127.0.0.1",
                "NodeManagerHostname": os.uname().nodename,
                "NodeName": "127.0.0.1",
                "Resources": dict(self._totals),
                "Labels": dict(self.options.labels),
            }
        ]

    def context(self) -> dict[str, Any]:
        """See :class:`haz.engines.base.Engine`."""
        found: dict[str, Any] = {
            "job_id": "01000000",
            "node_id": self.epoch,
            "worker_id": f"{os.getpid():016x}",
            "namespace": self.namespace,
            "session_name": f"session_{self.epoch}",
            "labels": self.options.labels,
        }
        if self._here.stack:
            running = self._here.stack[-1]
            found |= {
                "task_id": f"{self.epoch}{running.id:016x}",
                "task_name": running.task.name,
                "task_function_name": running.task.descriptor.name,
                "attempt": running.attempt,
                "assigned_resources": {k: v for k, v in running.task.resources.items() if v},
                "gpu_ids": shown_ids(running.gpus),
            }
            actor = running.task.actor
            if actor is not None:
                found |= {
                    "actor_id": f"{self.epoch}{actor.id:016x}",
                    "actor_name": actor.options.name or "",
                    "actor_restarted": actor.restarts > 0,
                    "assigned_resources": {k: v for k, v in actor.resources.items() if v},
                    "gpu_ids": shown_ids(actor.gpus),
                }
        return found

    def task_of(self, ref: ObjectRef[Any]) -> str | None:
        """See :class:`haz.engines.base.Engine`."""
        number = self.entry_of(ref).task
        return f"{self.epoch}{number:016x}" if number else None

    def running_tasks(self) -> list[tuple[Running, int]]:
        """The tasks that run now, in all threads, with the numbers of those that have made them."""
        found: list[tuple[Running, int]] = []
        for stack in map(list, list(self._stacks.values())):
            parents = [0, *(running.id for running in stack)]
            found += zip(stack, parents, strict=False)
        return found

    def list_state(self, kind: str) -> tuple[list[dict[str, Any]], int]:
        """See :class:`haz.engines.base.Engine`."""
        from haz.engines.inline_state import list_state

        return list_state(self, kind)

    def actor_pids(self) -> dict[str, int | None]:
        """See :class:`haz.engines.base.Engine`."""
        return {}

    def snapshot(self) -> dict[str, Any]:
        """See :class:`haz.engines.base.Engine`."""
        return {
            "engine": self.name,
            "workers": [],
            "tasks": dict(self.history.counts),
            "objects": {
                "count": len(self.entries),
                "bytes": self._used_bytes - sum(self.freed_bytes),
            },
        }

    def shutdown(self) -> None:
        """See :class:`haz.engines.base.Engine`."""
        self.ended = True
        if self._actors is not None:
            self._actors.end()
        self._pinned.clear()


def _totals(options: InitOptions, gpus: list[str]) -> dict[str, float]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if options.num_cpus is not None:
        cpus = options.num_cpus
    elif hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    totals = {
        "CPU": float(cpus),
        "memory": float(memory if options.memory is None else options.memory),
        "object_store_memory": float(options.object_store_memory or memory // 3),
        **options.resources,
    }
    return totals | gpu_resources(gpus, totals)
