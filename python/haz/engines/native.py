"""The native engine: real processes, shared memory, the C++ core.

In the program that calls ``haz.init()`` it owns the node; in a worker it joins the node of that
program. Everything that costs time is in ``haz._native``.
"""

from __future__ import annotations

import marshal
import os
import sys
from _thread import allocate_lock, start_new_thread

from haz import _native
from haz._core import plain_functions, zygote, zygote_copy
from haz._core.checks import check_detached, force_on_actor_call
from haz._core.gpus import gpu_names, gpu_resources, shown_ids
from haz._core.refs import ObjectRef
from haz._core.runtime import runtime
from haz.engines.base import place_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from haz._core.actor_worker import ActorHost
    from haz.engines.base import (
        ActorOptions,
        Again,
        Descriptor,
        GroupInfo,
        InitOptions,
        MethodOptions,
        TaskOptions,
    )
    from haz.util.placement_group import PlacementGroup

__all__ = ["NativeEngine", "UnpackedFunction", "create_engine", "group_of"]

_TOTAL_RESOURCES = 1
_AVAILABLE_RESOURCES = 2
_SNAPSHOT = 3
#: What has_item() returns for what the core says.
_STREAM_STATES = (True, False, None)
_NAMED_ACTORS = 4
_GROUPS = 5
_GROUP_OF_TASK = 6
_ACTOR_NAME = 7
_IS_CANCELLED = 8
_IS_WANTED = 9
_TASK_OF = 14
_GROUP_STATES = ("PENDING", "CREATED", "REMOVED")

#: Imported by the zygote before the first fork, if the program itself has: nearly every task of such
#: a program needs it, and workers then share its memory instead of each loading it.
_PRELOADED_IF_USED = ("numpy", "haz.dask")

#: Imported by the zygote after the first fork if the program has joblib: its calls may do without.
_PRELOADED_IF_JOBLIB = ("numpy", "joblib")

#: Imported by the zygote after the first fork, or while it is idle. Most programs need it soon, and
#: the first task of many doesn't.
_PRELOADED_LATER = ("haz._core.serialize",)

#: Imported by the zygote when it is quiet: what the process of an actor needs, and one of a pool.
_PRELOADED_WHEN_QUIET = (
    "haz._core.actor_worker",
    "haz._core.main_globals",
    "haz._faces.worker",
)

#: Likewise, of the standard library and if the program itself has: a module that defines a task or
#: an actor most likely imports some of it, in each new process again. To import them does nothing
#: that a fork could spoil.
_PRELOADED_OF_LIBRARY = (
    "typing collections.abc functools enum contextlib re warnings importlib dataclasses inspect copy "
    "math random datetime json pathlib threading string textwrap traceback logging tempfile queue "
    "uuid selectors socket signal subprocess concurrent.futures ssl asyncio"
)


def create_engine(options: InitOptions) -> NativeEngine:
    """Start a node, or join the one that `options` name; return the engine."""
    engine = NativeEngine(options)
    if options.address is not None:
        from haz.engines.joined import JoinedEngine

        engine = JoinedEngine(options)
    try:
        engine.start()
    except BaseException:
        engine.shutdown()  # Ctrl-C may come just after the start
        raise
    return engine


def _is_used(name: str) -> bool:
    """Whether the program uses a module; not so NumPy, if only joblib has imported it."""
    module = sys.modules.get(name)
    if module is None or name != "numpy" or "joblib" not in sys.modules:
        return module is not None
    users = [
        one.partition(".")[0]
        for one, user in list(sys.modules.items())
        if module in (getattr(user, "np", None), getattr(user, "numpy", None))
    ]
    return not {"numpy", "joblib"}.issuperset(users)


def _preloaded_later() -> tuple[str, ...]:
    return (*_PRELOADED_LATER, *(_PRELOADED_IF_JOBLIB if "joblib" in sys.modules else ()))


def _preloaded_when_quiet() -> tuple[str, ...]:
    """Names of modules; not those of a module of the user's that hides one of the library's."""
    library = os.path.dirname(os.__file__)
    folders = (library, os.path.join(library, "lib-dynload"))

    def is_of_library(name: str) -> bool:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or file is None:
            return module is not None
        folder = os.path.dirname(file)
        return (os.path.dirname(folder) if hasattr(module, "__path__") else folder) in folders

    used = (name for name in _PRELOADED_OF_LIBRARY.split() if is_of_library(name))
    return (*_PRELOADED_WHEN_QUIET, *used)


def pack_function(
    function: Callable[..., Any], options: TaskOptions, environment: bytes = b""
) -> bytes:
    """Return the code of a remote function, as a worker's ``UnpackedFunction`` takes it.

    Refs that the function captures are kept for as long as the node lives, as its code is.
    """
    _native.pin_pickled_refs(True)
    try:
        return _pack_function(function, options, environment)
    finally:
        _native.pin_pickled_refs(False)


def _pack_function(function: Callable[..., Any], options: TaskOptions, environment: bytes) -> bytes:
    retried = options.retry_exceptions
    return marshal.dumps(
        (
            plain_functions.dump(function),
            retried if isinstance(retried, bool) else None,
            b"" if isinstance(retried, bool) else plain_functions.dump(lambda: retried),
            options.max_calls,
            resources_of(options),
            options.num_returns == "dynamic",
            environment,
        )
    )


def returns_of(num_returns: int | str) -> tuple[int, Callable[[Any], Any] | None]:
    """Return how many objects a call returns, and for a stream what to make of its ref."""
    if isinstance(num_returns, int):
        return num_returns, None
    if num_returns == "dynamic":
        return 1, None
    from haz._core.generator import ObjectRefGenerator

    return 1, ObjectRefGenerator


def _concurrency_of(options: ActorOptions) -> int:
    """Return how many calls of methods without a group run at a time."""
    if options.max_concurrency is not None:
        return options.max_concurrency
    return 1000 if options.is_async else 1


def _pack_class(cls: type, options: ActorOptions, meta: bytes, environment: bytes) -> bytes:
    """Return the code of an actor class, for ``haz._core.actor_worker``."""
    _native.pin_pickled_refs(True)
    try:
        code = plain_functions.dump(cls)
    finally:
        _native.pin_pickled_refs(False)
    concurrency = _concurrency_of(options)
    return marshal.dumps(
        (
            "class",
            code,
            concurrency + sum(options.concurrency_groups.values()),
            options.is_async,
            resources_of(options),
            meta,
            environment,
        )
    )


def _pack_method(method: str, options: MethodOptions) -> bytes:
    """Return the code of a method, for ``haz._core.actor_worker``."""
    retried = options.retry_exceptions
    return marshal.dumps(
        (
            "method",
            method,
            retried if isinstance(retried, bool) else None,
            b"" if isinstance(retried, bool) else plain_functions.dump(lambda: retried),
            options.num_returns == "dynamic",
        )
    )


def resources_of(options: TaskOptions | ActorOptions) -> dict[str, float]:
    """Return what a task takes or an actor holds, name to amount."""
    resources = dict(options.resources)
    if options.num_cpus:
        resources["CPU"] = float(options.num_cpus)
    if options.num_gpus:
        resources["GPU"] = float(options.num_gpus)
    if options.memory:
        resources["memory"] = float(options.memory)
    return resources


def resources_to_place(options: ActorOptions) -> dict[str, float]:
    """Return what must be free for an actor's constructor to run."""
    amounts = {**resources_of(options), "CPU": float(options.num_cpus_to_place)}
    return {name: amount for name, amount in amounts.items() if amount}


class UnpackedFunction:
    """What ``pack_function`` has packed: the function, and those of its options that workers need."""

    __slots__ = ("function", "is_dynamic", "max_calls", "resources", "retried")

    def __init__(self, code: bytes) -> None:
        function, retried, kinds, max_calls, resources, dynamic, _ = marshal.loads(code)
        self.is_dynamic: bool = dynamic
        self.retried: bool | tuple[type[BaseException], ...] = (
            plain_functions.load(kinds)() if retried is None else retried
        )
        self.max_calls: int = max_calls
        self.resources: dict[str, float] = resources
        self.function: Callable[..., Any] = plain_functions.load(function)


def _end_session() -> None:
    _native.leave_node(0, 1.0)
    _native.stop_node()


# Native threads must end before the interpreter does, whatever became of the engine.
runtime.at_end(_end_session)


class _Callbacks:
    """Calls functions when refs are ready, from one thread, started with the first of them."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._waiting: dict[int, Callable[[], None]] = {}
        self._next = 1
        self._running = False
        self._closed = False
        self._ended = allocate_lock()

    def add(
        self,
        source: Any,
        callback: Callable[[], None],
        subscribe: Callable[[Any, int], bool] = _native.subscribe,
    ) -> None:
        with self._lock:
            token = self._next
            self._next += 1
            if not self._closed:
                if not self._running:
                    self._start()
                self._waiting[token] = callback
        if self._closed:
            self._waiting.setdefault(token, callback)
            self._call(token)
            return
        try:
            subscribed = subscribe(source, token)
        except BaseException:
            self._waiting.pop(token, None)
            raise
        if not subscribed:
            self._call(token)

    def _start(self) -> None:
        # A copy, since the node closes its own when it ends.
        fd = os.dup(_native.completions_fd())
        self._ended.acquire()
        self._running = True
        start_new_thread(self._run, (fd, _native.session()))

    def _call(self, token: int) -> None:
        callback = self._waiting.pop(token, None)
        if callback is None:
            return
        try:
            callback()
        except BaseException:
            sys.excepthook(*sys.exc_info())  # the others wait for theirs

    def _run(self, fd: int, session: int) -> None:
        import select

        poller = select.poll()
        poller.register(fd, select.POLLIN)
        try:
            while not self._closed:
                poller.poll(1000)
                for token in _native.take_completions(session):
                    self._call(token)
        finally:
            os.close(fd)
            self._ended.release()

    def stop(self) -> None:
        """Let the thread end when the node's end wakes it."""
        self._closed = True

    def close(self) -> None:
        """Wait for the thread's end; then call what is left."""
        with self._lock:
            self._closed = True
            running = self._running
        if running:
            self._ended.acquire(timeout=2)
        for token in list(self._waiting):
            self._call(token)


class NativeEngine:
    """See :class:`haz.engines.base.Engine`."""

    name = "native"

    #: Whether the node outlives this program.
    can_detach = False

    def __init__(self, options: InitOptions | None) -> None:
        self._options = options
        self._registered: dict[tuple[Any, ...], int] = {}
        self._is_worker = options is None
        self._callbacks = _Callbacks()
        #: Number of the native session that this engine works on.
        self._session = 0
        self._namespace = zygote.job.get("namespace", "")
        self._gpus = zygote.job.get("gpus", "").split(",")
        labels = zygote.job.get("labels", "").split("\0")
        self._labels = dict(zip(labels[::2], labels[1::2], strict=False))
        if options is not None:
            self._labels = options.labels
        #: Of the driver that has joined a long-lived node; empty: the node is the job.
        self._job_id = ""
        #: In a worker: resources of the functions that it has loaded, by their number.
        self.resources_of: dict[int, dict[str, float]] = {}
        #: And these themselves, names of methods, or what `actor_worker.function_name` takes.
        self.loaded: dict[int, Callable[..., Any] | str | tuple[Any, ...]] = {}
        #: In the process of an actor: the actor.
        self.actor: ActorHost | None = None
        #: Parts of the runtime environment that functions have if they do not say otherwise.
        self.environment: dict[str, Any] = {}
        if options is not None and options.environment:
            self.environment = _unpacked(options.environment)
        _native.init_types(ObjectRef)
        # Without a Python frame in between: these are called for every task.
        self.__dict__.update(
            put=_native.put,
            get=_native.get,
            get_one=_native.get_one,
            wait=_native.wait,
            free=_native.free,
            next_item=_native.next_item,
        )

    if TYPE_CHECKING:

        def put(self, value: Any) -> ObjectRef[Any]: ...
        def get_one(self, ref: Any) -> Any: ...
        def get(self, refs: Sequence[ObjectRef[Any]], timeout_s: float | None) -> list[Any]: ...
        def wait(
            self, refs: Sequence[ObjectRef[Any]], num_returns: int, timeout_s: float | None
        ) -> tuple[list[ObjectRef[Any]], list[ObjectRef[Any]]]: ...
        def free(self, refs: Sequence[ObjectRef[Any]]) -> None: ...
        def next_item(
            self, stream: ObjectRef[Any], timeout_s: float | None
        ) -> ObjectRef[Any] | None: ...

    def join(self) -> None:
        """Be the engine of this process, a worker that has joined its node."""
        self._session = _native.session()

    def enter_program(self, job: dict[str, str]) -> None:
        """In a worker: work for the driver of these facts, which has joined the node."""
        self._namespace = job.get("namespace", "")
        self._job_id = job.get("job_id", "")
        self.can_detach = True

    def start(self) -> None:
        """Start the node."""
        options = self._options
        assert options is not None
        _native.stop_node()  # one whose init() was interrupted
        environ = None
        if options.env_vars:
            environ = dict(os.environb)
            for name, value in options.env_vars.items():
                environ[os.fsencode(name)] = os.fsencode(value)
        preload_first = options.preload or ()
        if options.preload is None:
            preload_first = tuple(name for name in _PRELOADED_IF_USED if _is_used(name))
        num_cpus = options.num_cpus if options.num_cpus is not None else _native.usable_cpus()
        resources = dict(options.resources)
        gpus = gpu_names(options.num_gpus)
        resources |= gpu_resources(gpus, resources)
        if options.memory is not None:
            resources["memory"] = float(options.memory)
        self._namespace = options.namespace or os.urandom(16).hex()
        job = {"namespace": self._namespace, "gpus": ",".join(gpus)}
        if options.env_vars:
            job["env_vars"] = joined(options.env_vars)
        if options.labels:
            job["labels"] = joined(options.labels)
        as_ray = sys.modules.get("haz.as_ray")
        if as_ray is not None and as_ray.is_installed():
            job["as_ray"] = "1"
        is_copied = zygote_copy.is_young()
        zygote.fill_standard_descriptors()  # or the node's own files might get these numbers
        _native.start_node(
            float(num_cpus),
            resources,
            options.object_store_memory or 0,
            zygote.command(),
            zygote.make_setup(
                _preloaded_later(),
                environ,
                preload_first,
                job,
                _preloaded_when_quiet(),
                is_copied,
            ),
            show_output if options.log_to_driver else None,
            os.environ.get("HAZ_DEDUP_LOGS") != "0",
            zygote_copy.become if is_copied else None,
        )
        self._session = _native.session()

    def bind_task(
        self,
        function: Callable[..., Any],
        options: TaskOptions,
        descriptor: Descriptor,
        again: Again,
    ) -> Callable[..., Any]:
        number = self._register(function, options, descriptor)
        place = place_of(self, options, resources_of(options), options.name or descriptor.name)
        num_returns, generator = returns_of(options.num_returns)
        submit: Callable[..., Any] = _native.bind_submitter(
            self._session,
            number,
            num_returns,
            descriptor.min_args,
            descriptor.max_args,
            descriptor,
            again,
            generator,
            placement=place,
        )
        return submit

    def _register(
        self, function: Callable[..., Any], options: TaskOptions, descriptor: Descriptor
    ) -> int:
        key = (descriptor.uid, options.registered())
        number = self._registered.get(key)
        if number is not None:
            return number
        environment, environment_key = self._environment_of(options)
        number = _native.register_function(
            self._session,
            options.name or descriptor.name,
            pack_function(function, options, environment),
            resources_of(options),
            options.max_retries,
            bool(options.retry_exceptions),
            -1.0 if options.timeout_s is None else options.timeout_s,
            options.items_ahead if options.num_returns == "streaming" else -1,
            options.priority,
            environment=environment_key,
        )
        self._registered[key] = number
        return number

    def _environment_of(self, options: TaskOptions | ActorOptions) -> tuple[bytes, str]:
        if not self.environment and not options.environment and not options.env_vars:
            return b"", ""
        from haz._core.environment import key_of, merged

        environment = merged(self.environment, options.environment, options.env_vars)
        return environment, key_of(environment)

    def put_error(self, info: dict[str, Any]) -> ObjectRef[Any]:
        ref: ObjectRef[Any] = _native.put_error(info)
        return ref

    def has_item(self, stream: ObjectRef[Any]) -> bool | None:
        return _STREAM_STATES[_native.stream_state(stream)]

    def end_of_stream(self, stream: ObjectRef[Any]) -> ObjectRef[int]:
        ref: ObjectRef[int] = _native.end_of_stream(stream)
        return ref

    def share_stream(self, stream: ObjectRef[Any]) -> None:
        _native.share_stream(stream)

    def create_actor(
        self,
        cls: type,
        options: ActorOptions,
        descriptor: Descriptor,
        meta: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        if options.detached and not self.can_detach:
            check_detached()
        descriptor.check_call(args, kwargs)
        key = (descriptor.uid, options.registered())
        number = self._registered.get(key)
        if number is None:
            number = self._registered[key] = self._register_class(cls, options, descriptor, meta)
        namespace = options.namespace or self._namespace
        name = options.name or ""
        placement = place_of(self, options, resources_to_place(options), f"actor {cls.__name__}")
        ref = _native.create_actor(
            self._session,
            number,
            name,
            namespace,
            options.get_if_exists,
            args,
            kwargs,
            descriptor,
            placement,
        )
        if options.get_if_exists:
            found = _native.find_actor(name, namespace)
            if found is not None and found[0] == ref:
                return found
        return ref, meta

    def _register_class(
        self, cls: type, options: ActorOptions, descriptor: Descriptor, meta: bytes
    ) -> int:
        concurrency = _concurrency_of(options)
        environment, environment_key = self._environment_of(options)
        number: int = _native.register_function(
            self._session,
            descriptor.name,
            _pack_class(cls, options, meta, environment),
            resources_to_place(options),
            0,
            False,
            -1.0,
            actor={
                "max_restarts": options.max_restarts,
                "max_pending_calls": max(options.max_pending_calls, 0),
                "is_sequential": not options.is_async
                and concurrency == 1
                and not options.concurrency_groups,
                "is_async": options.is_async,
                "allow_out_of_order": options.allow_out_of_order,
                "is_detached": options.detached,
                "resources": resources_of(options),
                "groups": options.concurrency_groups,
                "default_group_limit": concurrency,
                "meta": meta,
            },
            environment=environment_key,
        )
        return number

    def bind_method(
        self,
        actor: ObjectRef[Any],
        method: str,
        options: MethodOptions,
        descriptor: Descriptor,
        again: Again,
        is_limited: bool = False,
    ) -> Callable[..., Any]:
        key = (descriptor.uid, method, options)
        number = self._registered.get(key)
        if number is None:
            from haz._core.cpp_code import CppDescriptor

            number = self._registered[key] = _native.register_function(
                self._session,
                options.name or descriptor.name,
                descriptor.pack(options)
                if isinstance(descriptor, CppDescriptor)
                else _pack_method(method, options),
                {},
                options.max_task_retries,
                bool(options.retry_exceptions),
                -1.0 if options.timeout_s is None else options.timeout_s,
                items_ahead=options.items_ahead if options.num_returns == "streaming" else -1,
                priority=options.priority,
                group=options.concurrency_group or "",
            )
        num_returns, generator = returns_of(options.num_returns)
        submit: Callable[..., Any] = _native.bind_submitter(
            self._session,
            number,
            num_returns,
            descriptor.min_args,
            descriptor.max_args,
            descriptor,
            again,
            generator,
            actor,
            asks=is_limited,
        )
        return submit

    def get_actor(self, name: str, namespace: str | None) -> tuple[ObjectRef[Any], bytes]:
        space = namespace or self._namespace
        found = _native.find_actor(name, space)
        if found is None:
            raise ValueError(
                f"there is no actor of the name {name!r} in the namespace {space!r}, or it has "
                f"died: see haz.util.list_named_actors(all_namespaces=True)"
            )
        return found

    def current_actor(self) -> tuple[ObjectRef[Any], bytes] | None:
        if self.actor is None:
            return None
        return _native.weak_actor(self.actor.id), self.actor.meta

    def list_named_actors(self, all_namespaces: bool) -> list[tuple[str, str]]:
        return [
            (space, name)
            for space, name, *_ in _native.query(_NAMED_ACTORS)
            if all_namespaces or space == self._namespace
        ]

    def named_actors(self, namespace: str) -> dict[str, tuple[int, int]]:
        return {
            name: (calls, pid)
            for space, name, calls, pid in _native.query(_NAMED_ACTORS)
            if space == namespace
        }

    def kill_actor(self, actor: ObjectRef[Any], no_restart: bool) -> None:
        _native.kill_actor(actor, no_restart)

    def exit_actor(self) -> None:
        if self.actor is None:
            raise RuntimeError("haz.actor.exit_actor() is for methods of actors")
        _native.exit_actor()
        raise SystemExit(0)

    def create_placement_group(
        self,
        bundles: list[dict[str, float]],
        strategy: str,
        name: str,
        detached: bool,
    ) -> ObjectRef[Any]:
        if detached and not self.can_detach:
            check_detached()
        ref: ObjectRef[Any] = _native.create_group(
            bundles, strategy, name, self._namespace if name else "", detached
        )
        return ref

    def remove_placement_group(self, group: ObjectRef[Any]) -> None:
        _native.remove_group(group)

    def placement_groups(self, group: ObjectRef[Any] | None) -> list[GroupInfo]:
        number = 0
        if group is not None:
            node, number = group.hex()[:16], int(group.hex()[16:], 16)
            if node != self._node_id():
                return []
        return [
            {
                "ref": _native.group_ref(found),
                "name": name,
                "namespace": namespace,
                "strategy": strategy,
                "state": _GROUP_STATES[state],
                "bundles": bundles,
            }
            for found, name, namespace, strategy, state, _, bundles in _native.query(
                _GROUPS, number
            )
        ]

    def current_placement_group(self) -> tuple[ObjectRef[Any], bool] | None:
        running = _native.running_task()
        found = None if running is None else _native.query(_GROUP_OF_TASK, running[0])
        return (_native.group_ref(found[0][0]), found[0][5]) if found else None

    def cancel(self, ref: ObjectRef[Any], *, force: bool, recursive: bool) -> None:
        if force and _native.is_of_call(ref):
            raise force_on_actor_call()
        _native.cancel(ref, force, recursive)

    def add_done_callback(self, ref: ObjectRef[Any], callback: Callable[[], None]) -> None:
        self._callbacks.add(ref, callback)

    def when_demanded(self, sender: _native.ItemSender, callback: Callable[[], None]) -> None:
        """Call `callback`, as `add_done_callback` does, when consumers of a stream want items."""
        self._callbacks.add(sender, callback, _native.ItemSender.subscribe)

    def cluster_resources(self) -> dict[str, float]:
        return _positive(_native.query(_TOTAL_RESOURCES))

    def available_resources(self) -> dict[str, float]:
        return _positive(_native.query(_AVAILABLE_RESOURCES))

    def nodes(self) -> list[dict[str, Any]]:
        import socket

        return [
            {
                "NodeID": self._node_id(),
                "Alive": True,
                "NodeManagerAddress": "127.0.0.1",
                "NodeManagerHostname": socket.gethostname(),
                "Resources": self.cluster_resources(),
                "Labels": dict(self._labels),
            }
        ]

    @staticmethod
    def _node_id() -> str:
        return f"{_native.identity()[0]:016x}"

    def context(self) -> dict[str, Any]:
        epoch, process = _native.identity()
        running = _native.running_task()
        shown: dict[str, Any] = {
            "job_id": self._job_id or f"{epoch & 0xFFFFFFFF:08x}",
            "node_id": f"{epoch:016x}",
            "worker_id": f"{epoch:016x}{process:08x}",
            "namespace": self._namespace,
            "session_name": f"session_{epoch:016x}",
            "labels": self._labels,
        }
        if running is not None:
            task, attempt, name, number = running
            shown["task_id"] = f"{epoch:016x}{task:016x}"
            shown["task_name"] = name
            shown["task_function_name"] = self.function_name(number) or name
            shown["attempt"] = attempt - 1
            shown["assigned_resources"] = dict(self.resources_of.get(number, {}))
            shown["gpu_ids"] = shown_ids(self.granted_gpus())
        if self.actor is not None:
            shown["actor_id"] = f"{epoch:016x}{self.actor.id:016x}"
            if self.actor.name is None:
                self.actor.name = _native.query(_ACTOR_NAME, self.actor.id)
            shown["actor_name"] = self.actor.name
            shown["actor_restarted"] = self.actor.restarted
            shown["assigned_resources"] = dict(self.actor.resources)
            shown["gpu_ids"] = shown_ids(self.actor.gpus)
        return shown

    def function_name(self, number: int) -> str | None:
        """In a worker: the name of a function that it has loaded, whatever its tasks are called."""
        found = self.loaded.get(number)
        if found is None or isinstance(found, str):
            return found
        if isinstance(found, tuple):
            from haz._core.actor_worker import function_name

            return function_name(self, found)
        from haz._core.signature import name_of

        return name_of(found)

    def is_cancelled(self) -> bool:
        running = _native.running_task()
        return running is not None and bool(_native.query(_IS_CANCELLED, running[0]))

    def is_wanted(self) -> bool:
        running = _native.running_task()
        return running is None or bool(_native.query(_IS_WANTED, running[0]))

    def runtime_env(self) -> dict[str, Any]:
        from haz._core.environment import described

        if self._options is not None:
            return described(self.environment, self._options.env_vars)
        variables = zygote.job.get("env_vars", "").split("\0")
        return described(self.environment, dict(zip(variables[::2], variables[1::2], strict=False)))

    def granted_gpus(self) -> list[str]:
        """In a worker: names of the GPUs that the running task has."""
        grant = _native.running_grant()
        return [] if grant is None else [self._gpus[number] for number in grant[0]]

    def task_of(self, ref: ObjectRef[Any]) -> str | None:
        number = ref.hex()
        found = (
            _native.query(_TASK_OF, int(number[16:], 16)) if number[:16] == self._node_id() else 0
        )
        return f"{number[:16]}{found & 0xFFFFFFFFFFFFFFFF:016x}" if found else None

    def list_state(self, kind: str) -> tuple[list[dict[str, Any]], int]:
        from haz.engines.native_state import list_state

        return list_state(kind, str(self.context()["job_id"]), bool(self._job_id))

    def actor_pids(self) -> dict[str, int | None]:
        from haz.engines.native_state import actor_pids

        return actor_pids(self._node_id())

    def snapshot(self) -> dict[str, Any]:
        counts: dict[str, Any] = dict(_native.query(_SNAPSHOT))
        counts.update(_native.snapshot())
        return counts

    def shutdown(self) -> None:
        if self._is_worker:
            return
        self._callbacks.stop()
        _native.stop_node(self._session)
        self._callbacks.close()


def group_of(number: int) -> PlacementGroup:
    """Return the placement group of that number: what the value of its ref is pickled as."""
    from haz.util.placement_group import PlacementGroup

    return PlacementGroup(_native.group_ref(number))


def _unpacked(environment: bytes) -> dict[str, Any]:
    from haz._core.environment import unpack

    return unpack(environment)


def joined(texts: dict[str, str]) -> str:
    """Return a dictionary as one text for the zygote's job."""
    return "\0".join(part for item in texts.items() for part in item)


def _positive(amounts: dict[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in amounts.items() if amount > 0}


def show_output(lines: list[tuple[bool, str]]) -> None:
    """Print what tasks have printed: in a notebook this goes to the running cell."""
    from haz._core.task_output import show  # most programs print nothing before their first result

    show(lines)
