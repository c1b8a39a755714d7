"""Actors of the inline engine: objects in this process, whose calls run at once.

A call runs in the thread that makes it, inside of ``.remote()``; a second thread that calls the
same actor waits for the first, unless the actor has ``max_concurrency``. Where methods are ``async
def``, all run in one event loop of the actor, which turns for as long as a call takes: what a
method leaves running goes on during the next call.

What differs from other engines: a call that an actor makes of itself runs inside of the one that
makes it, where others would let it wait for its turn. There is no process that could crash, so
that ``max_restarts`` has a meaning for ``haz.kill(no_restart=False)`` only.
"""

from __future__ import annotations

import threading
from contextlib import nullcontext
from weakref import WeakValueDictionary, ref

from haz._core.generator import as_iterator
from haz.engines.base import place_of
from haz.engines.inline_calls import Arguments, BoundCall, resources_of
from haz.engines.inline_objects import Entry, InlineRef
from haz.engines.inline_state import actor_row
from haz.exceptions import ActorAlreadyExistsError, ObjectLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any, NoReturn

    from haz._core.refs import ObjectRef
    from haz.engines.base import ActorOptions, Again, Descriptor, MethodOptions
    from haz.engines.inline import InlineEngine
    from haz.engines.inline_running import PlaceInGroup

__all__ = ["InlineActor", "InlineActors"]


class _ActorEndedError(BaseException):
    """Unwinds the methods of an actor that has died."""


class InlineActor:
    """An actor. It lives for as long as the entry of its creation, which refs hold."""

    def __init__(
        self,
        engine: InlineEngine,
        cls: type,
        options: ActorOptions,
        descriptor: Descriptor,
        meta: bytes,
        arguments: Arguments,
        place: PlaceInGroup | None,
    ) -> None:
        self.id = 0
        #: The bundle that it runs in.
        self.place = place
        self._gpus = engine.gpus if place is None else place.bundle.gpus
        self.entry: ref[Entry] | None = None
        self.options = options
        self.meta = meta
        self.class_name = cls.__name__
        self.resources = resources_of(options)
        #: Names of the GPUs that it holds while it lives.
        self.gpus = self._gpus.take(options.num_gpus)
        #: The packed environment of who has made it.
        self.base = engine.base_environment()
        self.restarts = 0
        #: Set when it has died: the error of its calls.
        self.death: dict[str, Any] | None = None
        self.instance: Any = None
        self.is_constructed = False
        self._engine = engine
        self._construction = _Construction(engine, self, cls, descriptor)
        self._arguments: Arguments | None = arguments
        self._loop: asyncio.AbstractEventLoop | None = None
        runs_several = not options.is_async and (options.max_concurrency or 1) > 1
        self._turn: AbstractContextManager[Any] = nullcontext() if runs_several else _Turn()

    def construct(self) -> None:
        """Make the instance; the actor dies if that fails."""
        arguments = self._arguments
        assert arguments is not None
        self.is_constructed = False
        self._construction.actor = self
        try:
            number = self._engine.new_number()
            _, error = self._engine.execute(self._construction, arguments, number)
        finally:
            self._construction.actor = None  # or it would live for ever
        if error is not None and self.death is None:
            self.die("constructor", cause=error)
        if self.options.max_restarts == 0:
            self._arguments = None  # with what they hold

    def restart(self) -> bool:
        """Make a new instance, as after a crash. False: no restart is left."""
        most = self.options.max_restarts
        if self.death is not None or (most != -1 and self.restarts >= most):
            return False
        self.restarts += 1
        self.instance = None
        self._close_loop()
        self.construct()
        return True

    def die(self, reason: str, **more: Any) -> None:
        """Let it be dead; what runs in it will see that."""
        if self.death is not None:
            return
        self.death = {
            "kind": "actor_died",
            "actor_id": f"{self._engine.epoch}{self.id:016x}",
            "class_name": self.class_name,
            "actor_name": self.options.name or "",
            "reason": reason,
            "restarts": self.restarts,
            **more,
        }
        self._engine.history.actors.append(actor_row(self._engine, self))
        self.instance = self._arguments = None
        self._let_go()
        entry = self.entry() if self.entry is not None else None
        if entry is not None:
            entry.drop(self.death)
        self._engine.actors.forget_name(self)
        if self._engine.has_groups:
            self._engine.groups.remove_those_of(self)
        self._close_loop()

    # ---- running -------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call `function` as a method of the actor; raise if the actor dies in it."""
        with self._turn:
            if self.options.is_async:
                value = self._run_in_loop(function, args, kwargs)
            else:
                value = function(*args, **kwargs)
        if self.death is not None:  # and the method has gone on all the same
            raise _ActorEndedError
        return value

    def _run_in_loop(
        self, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        import asyncio
        import inspect

        async def main() -> Any:
            value = function(*args, **kwargs)
            return await value if inspect.isawaitable(value) else value

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        is_nested = self._loop.is_running()
        loop = asyncio.new_event_loop() if is_nested else self._loop
        # The caller may be a coroutine: its loop stands still until the call has ended.
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return _run_to_the_end(loop, main())
        finally:
            asyncio._set_running_loop(outer)
            if is_nested:
                loop.close()
            elif self.death is not None:
                self._close_loop()

    def _close_loop(self) -> None:
        loop = self._loop
        if loop is None or loop.is_running():
            return
        self._loop = None
        import asyncio

        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio._set_running_loop(outer)
            loop.close()

    def _let_go(self) -> None:
        gpus, self.gpus = self.gpus, []
        self._gpus.give_back(gpus, self.options.num_gpus)

    def __del__(self) -> None:
        self._let_go()
        self._close_loop()


def _run_to_the_end(loop: asyncio.AbstractEventLoop, coroutine: Any) -> Any:
    task = loop.create_task(coroutine)
    try:
        return loop.run_until_complete(task)
    except BaseException:
        if not task.done():  # Ctrl-C or a time limit, outside of the task's own code
            task.cancel()
            try:
                loop.run_until_complete(task)
            except BaseException:
                pass
        raise


class _Turn:
    """One thread at a time, which may come again inside of itself."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_exc: object) -> None:
        self._lock.release()


class _Construction(BoundCall):
    """The call of an actor's constructor."""

    kind = "ACTOR_CREATION_TASK"

    def __init__(
        self, engine: InlineEngine, actor: InlineActor, cls: type, descriptor: Descriptor
    ) -> None:
        from haz.engines.base import MethodOptions

        super().__init__(
            engine,
            MethodOptions(num_returns=0),
            descriptor,
            resources={},
            env_vars=actor.options.env_vars,
            environment=actor.options.environment,
        )
        self._cls = cls

    def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        actor = self.actor
        assert actor is not None
        actor.instance = actor.run(self._cls, args, kwargs)
        actor.is_constructed = True

    def failure(self, exc: BaseException) -> dict[str, Any]:
        assert self.actor is not None
        return _death_in(self.actor, exc) or super().failure(exc)

    def retries(self) -> int:
        return 0


class _BoundMethod(BoundCall):
    """A method of an actor."""

    kind = "ACTOR_TASK"
    actor: InlineActor

    def __init__(
        self,
        engine: InlineEngine,
        creation: InlineRef,
        method: str,
        options: MethodOptions,
        descriptor: Descriptor,
        again: Again,
    ) -> None:
        actor = creation.entry.actor
        assert actor is not None
        super().__init__(
            engine,
            options,
            descriptor,
            resources={},
            env_vars=actor.options.env_vars,
            environment=actor.options.environment,
            again=again,
        )
        self.actor = actor
        self._creation = creation
        self._method = method
        self._retries = options.max_task_retries

    def refusal(self) -> dict[str, Any] | None:
        death = self.actor.death
        return None if death is None else {**death, "task_name": self.name}

    def call(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return self.actor.run(self.prepared(self._run), args, kwargs)

    def stream(self, args: list[Any], kwargs: dict[str, Any]) -> Any:
        value = self._run(*args, **kwargs)
        return value if hasattr(type(value), "__anext__") else as_iterator(value, "streaming")

    def resume(self, step: Callable[[], Any]) -> Any:
        return self.actor.run(step, [], {})

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        actor = self.actor
        if actor.death is not None:  # in the meantime, or before a retry
            raise _ActorEndedError
        if not actor.is_constructed:
            raise RuntimeError(
                f"{self.name} was called while the constructor of its actor still runs, and the "
                f"inline engine runs calls at once"
            )
        special = _SPECIAL.get(self._method)
        if special is not None:
            return special(actor, *args, **kwargs)
        return getattr(actor.instance, self._method)(*args, **kwargs)

    def failure(self, exc: BaseException) -> dict[str, Any]:
        death = _death_in(self.actor, exc)
        return super().failure(exc) if death is None else {**death, "task_name": self.name}

    def retries(self) -> int:
        return self._retries


def _death_in(actor: InlineActor, exc: BaseException) -> dict[str, Any] | None:
    """The death of the actor whose method has raised `exc`, if that was the end of it."""
    if actor.death is None and isinstance(exc, SystemExit):
        if exc.code in (None, 0):
            actor.die("exited")
        else:
            code = exc.code if isinstance(exc.code, int) else 1
            actor.die("exit_code", exit_code=code)
    return actor.death


def _terminate(actor: InlineActor) -> NoReturn:
    actor.die("exited")
    raise _ActorEndedError


def _call_function(actor: InlineActor, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return fn(actor.instance, *args, **kwargs)


def _ready(_actor: InlineActor) -> bool:
    return True


_SPECIAL: dict[str, Callable[..., Any]] = {
    "__ray_terminate__": _terminate,
    "__ray_call__": _call_function,
    "__ray_ready__": _ready,
}


class InlineActors:
    """The actors of an inline engine. Thread-safe."""

    def __init__(self, engine: InlineEngine) -> None:
        self._engine = engine
        self._lock = threading.RLock()
        self._all: WeakValueDictionary[int, InlineActor] = WeakValueDictionary()
        self._named: WeakValueDictionary[tuple[str, str], InlineActor] = WeakValueDictionary()

    def create(
        self,
        cls: type,
        options: ActorOptions,
        descriptor: Descriptor,
        meta: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[ObjectRef[Any], bytes]:
        """See ``create_actor`` of :class:`haz.engines.base.Engine`."""
        engine = self._engine
        placed = {**resources_of(options), "CPU": options.num_cpus_to_place}
        who = f"actor {cls.__name__}"
        engine.check_feasible(who, placed)
        place, refusal = engine.find_place(place_of(engine, options, placed, who), placed, who)
        descriptor.check_call(args, kwargs)
        engine.check_picklable(cls, descriptor)
        entry = engine.dump(None)
        with self._lock:
            existing = self._existing(options)
            if existing is not None:
                return self.ref_of(existing), existing.meta
            actor = InlineActor(
                engine,
                cls,
                options,
                descriptor,
                meta,
                Arguments(engine, descriptor, args, kwargs),
                place,
            )
            if place is not None:
                place.group.actors.add(actor)
            actor.entry, entry.actor = ref(entry), actor
            actor.id = engine.new_number()
            created = engine.ref_to(entry, actor.id)
            self._all[actor.id] = actor
            if options.name is not None:
                self._named[self._key(options.name, options.namespace)] = actor
        if refusal is None:
            actor.construct()
        elif refusal["kind"] == "group_removed":
            actor.die("group_removed")
        else:
            actor.die("constructor", cause=refusal)
        return created, meta

    def _existing(self, options: ActorOptions) -> InlineActor | None:
        if options.name is None:
            return None
        key = self._key(options.name, options.namespace)
        actor = self._named.get(key)
        if actor is not None and not options.get_if_exists:
            raise ActorAlreadyExistsError(
                f"there is an actor of the name {options.name!r} in the namespace {key[0]!r}: "
                f"haz.get_actor({options.name!r}) finds it, and get_if_exists=True takes it"
            )
        return actor

    def _key(self, name: str, namespace: str | None) -> tuple[str, str]:
        return namespace or self._engine.namespace, name

    def forget_name(self, actor: InlineActor) -> None:
        """Let the name of an actor that has died be free."""
        with self._lock:
            for key, named in list(self._named.items()):
                if named is actor:
                    del self._named[key]

    def ref_of(self, actor: InlineActor) -> InlineRef:
        """A ref of an actor's creation."""
        entry = actor.entry() if actor.entry is not None else None
        if entry is None:
            raise ObjectLostError(f"actor {actor.class_name} is gone: its last handle was dropped")
        return InlineRef(entry, actor.id)

    def _actor_of(self, creation: ObjectRef[Any]) -> InlineActor:
        actor = self._engine.entry_of(creation).actor
        if actor is None:
            raise TypeError(f"{creation!r} is not the ref of an actor's creation")
        return actor

    def bind_method(
        self,
        creation: ObjectRef[Any],
        method: str,
        options: MethodOptions,
        descriptor: Descriptor,
        again: Again,
    ) -> Callable[..., Any]:
        """See :class:`haz.engines.base.Engine`."""
        self._actor_of(creation)
        assert isinstance(creation, InlineRef)
        return _BoundMethod(self._engine, creation, method, options, descriptor, again)

    def get(self, name: str, namespace: str | None) -> tuple[ObjectRef[Any], bytes]:
        """See ``get_actor`` of :class:`haz.engines.base.Engine`."""
        with self._lock:
            key = self._key(name, namespace)
            actor = self._named.get(key)
            if actor is None:
                raise actor_not_found(name, key[0])
            return self.ref_of(actor), actor.meta

    def list_named(self, all_namespaces: bool) -> list[tuple[str, str]]:
        """See ``list_named_actors`` of :class:`haz.engines.base.Engine`."""
        with self._lock:
            names = sorted(self._named.keys())
        own = self._engine.namespace
        return [key for key in names if all_namespaces or key[0] == own]

    def kill(self, creation: ObjectRef[Any], no_restart: bool) -> None:
        """See ``kill_actor`` of :class:`haz.engines.base.Engine`."""
        actor = self._actor_of(creation)
        is_own = self._engine.running_actor() is actor
        if no_restart or is_own or not actor.restart():
            actor.die("killed")
        if is_own:
            raise _ActorEndedError

    def exit_current(self) -> NoReturn:
        """End the actor that runs in this thread."""
        actor = self._engine.running_actor()
        if actor is None:
            raise TypeError("no actor runs here")
        actor.die("exited")
        raise _ActorEndedError

    def held_resources(self) -> Iterator[tuple[str, float]]:
        """What living actors hold."""
        for actor in list(self._all.values()):
            if actor.death is None and actor.place is None:
                yield from actor.resources.items()

    def living(self) -> list[InlineActor]:
        """Those that have not died, the oldest first."""
        alive = [actor for actor in self._all.values() if actor.death is None]
        return sorted(alive, key=lambda actor: actor.id)

    def end(self) -> None:
        """Let all actors die with the engine."""
        for actor in list(self._all.values()):
            actor.die("node")


def actor_not_found(name: str, namespace: str) -> ValueError:
    """The error of ``haz.get_actor``."""
    return ValueError(
        f"there is no actor of the name {name!r} in the namespace {namespace!r}: it was never "
        f"made, has died, its last handle was dropped, or it is in another namespace"
    )
