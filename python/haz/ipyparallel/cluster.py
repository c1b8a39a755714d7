"""A cluster: a number of engines, and who they are. `Cluster` starts and stops them."""

from __future__ import annotations

import os
import signal
import threading
import time

from haz._core.actor_api import kill
from haz._core.api import get
from haz._core.lifecycle import init, is_initialized, shutdown
from haz._core.remote import remote
from haz._core.runtime import runtime
from haz.exceptions import NodeDiedError
from haz.ipyparallel._balancer import Balancer
from haz.ipyparallel._engine import Engine
from haz.ipyparallel._records import HeldMessages, Records
from haz.ipyparallel.error import EngineCreationError, NoEnginesRegistered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.ipyparallel._messages import DirectMessage
    from haz.ipyparallel.client import Client

__all__ = [
    "DEFAULT_ID",
    "NODE_NAME",
    "Cluster",
    "ClusterState",
    "EngineHandle",
    "namespace_of",
    "running_in_this_program",
    "shared_engines",
]

#: Name of the long-lived node that holds the clusters of ``haz cluster start``.
NODE_NAME = "ipyparallel"
#: Name of a cluster that was given none.
DEFAULT_ID = "default"
#: How old what is known of the engines' processes may be, in seconds.
_CHECK_S = 0.05


class EngineHandle:
    """One engine, as clients see it.

    Attributes
    ----------
    id, uuid
        Its number, and a name that is never used again: its id as an actor.
    pid : int
        Its process.
    """

    def __init__(self, state: ClusterState, engine_id: int, actor: Any, pid: int) -> None:
        self._state = state
        self.id = engine_id
        self.uuid = str(actor._actor_id)
        self.pid = pid
        self._actor = actor
        self._began = _begin_of(self.pid)
        self._methods: dict[str, Any] = {}
        self.reason: str | None = None
        #: Whether a client has ended it.
        self.was_ended = False

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the engine; returns the ref of its reply."""
        actor_method = self._methods.get(method)
        if actor_method is None:
            actor_method = self._methods[method] = getattr(self._actor, method)
        try:  # the method of the class the first time; it binds itself
            return actor_method.remote(*args)
        except NodeDiedError as error:
            raise self._state.lose_node() from error

    def forget(self, message: DirectMessage) -> None:
        """A call of it has ended."""
        self._state.messages.let_go(message)

    def is_alive(self) -> bool:
        """Whether its process runs."""
        if self.reason is not None or self._began is None:
            return False
        return _begin_of(self.pid) == self._began

    def seems_alive(self) -> bool:
        """The same at a tenth of the cost; a process that has just ended may seem to run."""
        if self.reason is not None or self._began is None:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return self.is_alive()
        return True

    def died(self, reason: str) -> None:
        """Note that it is gone, and why."""
        if self.reason is None:
            self.reason = reason
        self._state.lost(self)

    def send_signal(self, number: int) -> None:
        """Send its process a signal; SIGINT interrupts what it runs."""
        if self.is_alive():
            os.kill(self.pid, number)

    def end(self, reason: str) -> None:
        """End its process."""
        self.reason = reason
        self.was_ended = True
        try:
            kill(self._actor)
        except Exception:
            pass  # it is gone already


def _begin_of(pid: int) -> str | None:
    """When a process began, as the system counts it; None where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            after_name = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in (b"Z", b"X") else after_name[19].decode()


class ClusterState:
    """The engines of one cluster, in this process' runtime of haz. Thread-safe.

    Parameters
    ----------
    cluster_id
        The name of the cluster.
    environment
        Environment variables of new engines.
    is_shared
        Whether the engines outlive this process, on a long-lived node, and other processes may
        start and stop them. They are named actors then: ``engine-<number>-of-<n>``, where n is
        how many the cluster was started with. The one that takes the place of a dead engine has
        its number and n more, so that two clients which notice a death start one engine only.
    """

    def __init__(
        self, cluster_id: str, environment: dict[str, str] | None = None, is_shared: bool = False
    ) -> None:
        self.cluster_id = cluster_id
        self.environment = environment
        self.is_shared = is_shared
        self._lock = threading.RLock()
        self._engines: dict[int, EngineHandle] = {}
        self._next_id = 0
        self._size = 0
        self._checked = 0.0
        self._dead: dict[int, str] = {}
        self.stopped: str | None = None
        self.runtime_engine = runtime.engine
        self.records = Records()
        self.messages = HeldMessages()
        #: Of all clients here, so that they know of each other's calls.
        self.balancer = Balancer(
            self.engines, self.messages.get, self._pending_calls if is_shared else None
        )

    # ---- starting ------------------------------------------------------------------------------

    def start_engines(self, n: int) -> list[EngineHandle]:
        """Start engines, and wait for them."""
        with self._lock:
            self._size = self._size or n
            ids = list(range(self._next_id, self._next_id + n))
            self._next_id += n
        return self._start(ids)

    def _start(self, ids: list[int]) -> list[EngineHandle]:
        starting = [(engine_id, self._make(engine_id)) for engine_id in ids]
        greeted = [(engine_id, actor, actor.hello.remote()) for engine_id, actor in starting]
        return [self._greet(engine_id, actor, hello) for engine_id, actor, hello in greeted]

    def _make(self, engine_id: int) -> Any:
        options: dict[str, Any] = {"num_cpus": 0}
        if self.is_shared:
            options.update(
                name=f"engine-{engine_id}-of-{self._size}",
                namespace=namespace_of(self.cluster_id),
                lifetime="detached",
                get_if_exists=True,
            )
        return remote(**options)(Engine).remote(engine_id, self.environment)

    def _greet(self, engine_id: int, actor: Any, hello: Any) -> EngineHandle:
        try:
            pid = get(hello)
        except Exception as error:
            raise EngineCreationError(f"engine {engine_id} did not start: {error}") from error
        return self._add(engine_id, actor, pid)

    def _add(self, engine_id: int, actor: Any, pid: int) -> EngineHandle:
        engine = EngineHandle(self, engine_id, actor, pid)
        with self._lock:
            self._engines[engine_id] = engine
            self._next_id = max(self._next_id, engine_id + 1)
        return engine

    def attach(self) -> None:
        """Find the engines that other processes have started, and those that have died."""
        from haz._core.actor_api import get_actor

        space = namespace_of(self.cluster_id)
        found: dict[int, tuple[str, int]] = {}
        for name, (_, pid) in self._named_actors().items():
            found[_number_of(name)] = name, pid
            self._size = int(name.rpartition("-")[2])
        for engine_id, (name, pid) in sorted(found.items()):
            if engine_id in self._engines or engine_id in self._dead:
                continue  # of one that has died the node may not have heard yet
            try:
                actor = get_actor(name, namespace=space)
                if pid:  # it may be busy for long: not asked
                    self._add(engine_id, actor, pid)
                else:
                    self._greet(engine_id, actor, actor.hello.remote())
            except (ValueError, EngineCreationError):
                pass  # it ended meanwhile
        for engine in list(self._engines.values()):
            if engine.id not in found and not engine.is_alive():
                self.lost(engine)

    def _pending_calls(self) -> dict[int, int]:
        """How many calls each engine has, whoever has sent them."""
        return {_number_of(name): calls for name, (calls, _) in self._named_actors().items()}

    def _named_actors(self) -> dict[str, tuple[int, int]]:
        assert runtime.engine is not None
        try:
            return runtime.engine.named_actors(namespace_of(self.cluster_id))
        except NodeDiedError as error:
            raise self.lose_node() from error

    # ---- which there are -----------------------------------------------------------------------

    def engines(self, now: bool = False) -> list[EngineHandle]:
        """The engines that live, in the order of their numbers.

        Parameters
        ----------
        now
            Look closely at each process now; else at a glance, and if that was done 50 ms ago or
            less, not again. A death which that misses is told by the call that meets it.
        """
        if self.stopped is None and not self._is_current():
            self.stopped = "haz was shut down"
        if self.stopped is not None:
            raise self._why_stopped()
        time_now = time.monotonic()
        if now or time_now - self._checked > _CHECK_S:
            for engine in list(self._engines.values()):
                if not (engine.is_alive() if now else engine.seems_alive()):
                    self.lost(engine)
            if now and self.is_shared:
                self.attach()
            self._checked = time_now
        with self._lock:
            return [self._engines[number] for number in sorted(self._engines)]

    def lose_node(self) -> NoEnginesRegistered:
        """Note that the node which the engines were on has ended; return what tells of it."""
        self.stopped = self.stopped or "the node of its engines has ended"
        if _states.get(self.cluster_id) is self:
            del _states[self.cluster_id]
        return self._why_stopped()

    def _why_stopped(self) -> NoEnginesRegistered:
        return NoEnginesRegistered(
            f"cluster {self.cluster_id!r} was stopped ({self.stopped}): start another one with "
            "Cluster(n=...).start_and_connect_sync() or Client()"
        )

    def _is_current(self) -> bool:
        """Whether the run of haz that the engines belong to goes on."""
        return is_initialized() and self.runtime_engine is runtime.engine

    def fate(self, engine_id: int) -> str | None:
        """What became of an engine that died here."""
        return self._dead.get(engine_id)

    def known(self, engine_id: int) -> EngineHandle | None:
        """The engine of a number, if it lives."""
        return self._engines.get(engine_id)

    def lost(self, engine: EngineHandle) -> None:
        """An engine died: another one takes its place, under a new number."""
        with self._lock:
            if self._engines.pop(engine.id, None) is None or self.stopped is not None:
                return
            if not self._is_current():
                return
            if self.is_shared:
                new_id = engine.id + self._size
            else:
                new_id = self._next_id
                self._next_id += 1
            self._dead[engine.id] = f"it died, and engine {new_id} takes its place"
        threading.Thread(
            target=self._replace, args=(engine.id, new_id), name="haz-replace-engine", daemon=True
        ).start()

    def _replace(self, old_id: int, new_id: int) -> None:
        import sys

        if not self._is_current():
            return
        try:
            runtime.call_without_start(lambda: self._start([new_id]))
        except Exception as error:
            if self.stopped is None and self._is_current():
                said = f"haz: engine {old_id} died, and none took its place: {error}"
                print(said, file=sys.stderr)
            return
        if self.stopped is not None or not self._is_current():
            engine = self._engines.pop(new_id, None)
            if engine is not None and self._is_current():
                engine.end("the cluster was stopped")
            return
        print(
            f"haz: engine {old_id} died; engine {new_id} took its place, with no names set",
            file=sys.stderr,
        )

    # ---- stopping ------------------------------------------------------------------------------

    def remove(self, engine: EngineHandle, reason: str) -> None:
        """End an engine for good."""
        with self._lock:
            self._engines.pop(engine.id, None)
        engine.end(reason)

    def stop(self, reason: str) -> None:
        """End all engines."""
        with self._lock:
            if self.stopped is not None:
                return
            self.stopped = reason
            engines, self._engines = list(self._engines.values()), {}
        if self._is_current():
            for engine in engines:
                engine.end(reason)
        if _states.get(self.cluster_id) is self:
            del _states[self.cluster_id]


def _number_of(actor_name: str) -> int:
    """The number of an engine, of its name as an actor."""
    return int(actor_name.split("-")[1])


def namespace_of(cluster_id: str) -> str:
    """Where the engines of a shared cluster are named."""
    return f"ipyparallel:{cluster_id}"


_states: dict[str, ClusterState] = {}


def running_in_this_program() -> list[ClusterState]:
    """The clusters that this process has started or joined."""
    return [state for state in list(_states.values()) if state._is_current()]


def shared_engines() -> dict[str, list[int]]:
    """The engines' numbers of each cluster of ``haz cluster start``, by its name."""
    from haz._core import node_address

    try:
        status = node_address.ask(NODE_NAME, {"op": "status"})
    except ConnectionError:
        return {}  # no cluster runs
    found: dict[str, list[int]] = {}
    prefix = namespace_of("")
    for space, engine in status["named_actors"]:
        if space.startswith(prefix):
            found.setdefault(space[len(prefix) :], []).append(_number_of(engine))
    return {name: sorted(numbers) for name, numbers in found.items()}


def running_cluster(cluster_id: str | None) -> ClusterState | None:
    """The cluster of a name that this process knows; None as a name: the one it started last.

    If it knows none, one that was started by ``haz cluster start`` is looked for.
    """
    for key, state in list(_states.items()):
        if not state._is_current():
            state.stopped = "haz was shut down"
            del _states[key]
    if cluster_id is None and _states:
        return next(reversed(_states.values()))
    known = _states.get(cluster_id or DEFAULT_ID)
    return known if known is not None else _shared_cluster(cluster_id or DEFAULT_ID)


def _shared_cluster(cluster_id: str) -> ClusterState | None:
    """The cluster of a name that other processes share with this one, if it is there."""
    if not is_initialized():
        from haz._core import node_address

        try:
            status = node_address.ask(NODE_NAME, {"op": "status"})
        except (ConnectionError, PermissionError):
            return None
        if not any(space == namespace_of(cluster_id) for space, _ in status["named_actors"]):
            return None
        init(address=NODE_NAME)
    state = ClusterState(cluster_id, is_shared=True)
    try:
        state.attach()
    except NoEnginesRegistered:
        shutdown()  # of the node that was joined nothing is left
        return _shared_cluster(cluster_id)
    if not state.engines():
        return None
    _states[cluster_id] = state
    return state


def start_state(
    n: int | None,
    cluster_id: str,
    environment: dict[str, str] | None = None,
    is_shared: bool = False,
) -> ClusterState:
    """Start a cluster of `n` engines.

    Raises
    ------
    RuntimeError
        If there is one of that name.
    """
    if running_cluster(cluster_id) is not None:
        raise RuntimeError(f"cluster {cluster_id!r} is running already: stop it first")
    if not is_initialized():
        init()
    state = ClusterState(cluster_id, environment, is_shared)
    state.start_engines(number_of_engines(n))
    _states[cluster_id] = state
    return state


def number_of_engines(n: int | None) -> int:
    """A number of engines; None: one for each CPU.

    Raises
    ------
    TypeError, ValueError
        If it is no int, or less than 1.
    """
    if n is None:
        return len(os.sched_getaffinity(0))
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"a number of engines is an int, and not {n!r}")
    if n < 1:
        raise ValueError(f"a cluster has 1 engine or more, and not {n}")
    return n


def cluster_name(profile: str | None, cluster_id: str | None) -> str:
    """The name of a cluster, of ipyparallel's two parts of it; empty if both are."""
    parts = [part for part in (profile, cluster_id) if part]
    return "-".join(part for part in parts if part != DEFAULT_ID or len(parts) == 1)


class Cluster:
    """A number of engines on this machine.

    Parameters
    ----------
    n
        How many. None: one for each CPU.
    profile, cluster_id
        Its name; none gives it a name of its own.
    environment
        Environment variables of the engines, by names.
    **options
        ipyparallel's other options (launchers, addresses of a controller) have no meaning here,
        and are accepted.

    Examples
    --------
    >>> with Cluster(n=4) as client:  # doctest: +SKIP
    ...     client[:].apply_sync(os.getpid)

    Methods that end in ``_sync`` are the same as those without, for code that awaits these.
    """

    def __init__(
        self,
        n: int | None = None,
        *,
        profile: str = "",
        cluster_id: str = "",
        environment: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        if n is not None:
            number_of_engines(n)
        self.n = n
        self.profile = profile
        self.cluster_id = (
            cluster_name(profile, cluster_id) or f"{int(time.time())}-{os.urandom(2).hex()}"
        )
        self._environment = environment
        self._state: ClusterState | None = None
        self._client: Client | None = None

    def __repr__(self) -> str:
        engines = [] if self._state is None else self._state.engines()
        state = "stopped" if self._state is None else f"{len(engines)} engines"
        return f"<Cluster(cluster_id={self.cluster_id!r}, {state})>"

    def start_cluster_sync(self, n: int | None = None) -> Cluster:
        """Start the engines; return when they are there."""
        if self._state is not None and self._state.stopped is None:
            raise RuntimeError(f"{self!r} runs already")
        self._state = start_state(self.n if n is None else n, self.cluster_id, self._environment)
        return self

    def connect_client_sync(self, **options: Any) -> Client:
        """A client of the cluster."""
        from haz.ipyparallel.client import Client

        if self._state is None or self._state.stopped is not None:
            raise NoEnginesRegistered(f"{self!r}: start it first, with start_cluster_sync()")
        return Client(cluster=self, **options)

    def start_and_connect_sync(self, n: int | None = None, activate: bool = False) -> Client:
        """Start the engines, and return a client.

        Parameters
        ----------
        activate
            Let the magics ``%px`` and so on use the engines.
        """
        self.start_cluster_sync(n)
        client = self.connect_client_sync()
        if activate:
            client.activate()
        return client

    def start_engines_sync(self, n: int | None = None, engine_set_id: Any = None) -> str:
        """Start more engines."""
        self._running().start_engines(number_of_engines(n))
        return "engines"

    def stop_engine_sync(self, engine_id: int) -> None:
        """End one engine."""
        state = self._running()
        state.remove(self._engine(engine_id), "the cluster's stop_engine ended it")

    def stop_engines_sync(self, engine_set_id: Any = None) -> None:
        """End all engines."""
        state = self._running()
        for engine in state.engines():
            state.remove(engine, "the cluster's stop_engines ended it")

    def restart_engine_sync(self, engine_id: int) -> None:
        """End one engine, and start another."""
        self.stop_engine_sync(engine_id)
        self._running().start_engines(1)

    def restart_engines_sync(self, engine_set_id: Any = None) -> None:
        """End all engines, and start as many."""
        state = self._running()
        n = len(state.engines())
        self.stop_engines_sync()
        state.start_engines(n)

    def signal_engine_sync(self, signum: int, engine_id: int) -> None:
        """Send a signal to one engine; SIGINT interrupts what it runs."""
        self._engine(engine_id).send_signal(signal_number(signum))

    def signal_engines_sync(self, signum: int, engine_set_id: Any = None) -> None:
        """Send a signal to all engines; SIGINT interrupts what they run."""
        for engine in self._running().engines():
            engine.send_signal(signal_number(signum))

    def stop_cluster_sync(self) -> None:
        """End all engines. What they had not ended yet fails."""
        if self._state is not None:
            self._state.stop("it was stopped")

    def _running(self) -> ClusterState:
        if self._state is None or self._state.stopped is not None:
            raise NoEnginesRegistered(f"{self!r} is not running: start it first")
        return self._state

    def _engine(self, engine_id: int) -> EngineHandle:
        engine = self._running().known(engine_id)
        if engine is None:
            raise IndexError(f"there is no engine {engine_id}")
        return engine

    @classmethod
    def from_file(
        cls, cluster_file: Any = None, *, profile: str = "", cluster_id: str = "", **options: Any
    ) -> Cluster:
        """The cluster of a name that runs, started here or by ``haz cluster start``.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        cluster = cls(profile=profile, cluster_id=cluster_id)
        name = cluster_name(profile, cluster_id) or DEFAULT_ID
        state = running_cluster(name)
        if state is None:
            raise FileNotFoundError(
                f"there is no cluster {name!r}: start it by `haz cluster start`, or in Python by "
                "Cluster(...).start_cluster_sync()"
            )
        cluster.cluster_id = name
        cluster._state = state
        return cluster

    async def start_cluster(self, n: int | None = None) -> Cluster:
        """`start_cluster_sync`, for code that awaits."""
        return self.start_cluster_sync(n)

    async def connect_client(self, **options: Any) -> Client:
        """`connect_client_sync`, for code that awaits."""
        return self.connect_client_sync(**options)

    async def start_and_connect(self, n: int | None = None, activate: bool = False) -> Client:
        """`start_and_connect_sync`, for code that awaits."""
        return self.start_and_connect_sync(n, activate)

    async def start_engines(self, n: int | None = None, engine_set_id: Any = None) -> str:
        """`start_engines_sync`, for code that awaits."""
        return self.start_engines_sync(n, engine_set_id)

    async def stop_engine(self, engine_id: int) -> None:
        """`stop_engine_sync`, for code that awaits."""
        self.stop_engine_sync(engine_id)

    async def stop_engines(self, engine_set_id: Any = None) -> None:
        """`stop_engines_sync`, for code that awaits."""
        self.stop_engines_sync(engine_set_id)

    async def restart_engine(self, engine_id: int) -> None:
        """`restart_engine_sync`, for code that awaits."""
        self.restart_engine_sync(engine_id)

    async def restart_engines(self, engine_set_id: Any = None) -> None:
        """`restart_engines_sync`, for code that awaits."""
        self.restart_engines_sync(engine_set_id)

    async def signal_engine(self, signum: int, engine_id: int) -> None:
        """`signal_engine_sync`, for code that awaits."""
        self.signal_engine_sync(signum, engine_id)

    async def signal_engines(self, signum: int, engine_set_id: Any = None) -> None:
        """`signal_engines_sync`, for code that awaits."""
        self.signal_engines_sync(signum, engine_set_id)

    async def stop_cluster(self) -> None:
        """`stop_cluster_sync`, for code that awaits."""
        self.stop_cluster_sync()

    def __enter__(self) -> Client:
        self._client = self.start_and_connect_sync()
        self._client.wait_for_engines(self.n)
        return self._client

    def __exit__(self, *exception: object) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        self.stop_cluster_sync()

    async def __aenter__(self) -> Client:
        return self.__enter__()

    async def __aexit__(self, *exception: object) -> None:
        self.__exit__()


def signal_number(what: Any) -> int:
    """A signal by its number or name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(what, str):
        try:
            return int(signal.Signals[what])
        except KeyError:
            raise ValueError(f"there is no signal {what!r}") from None
    return int(signal.Signals(what))
