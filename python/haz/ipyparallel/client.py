"""`Client`: the way to the engines of a cluster."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from concurrent.futures import Future

from haz.ipyparallel._arguments import explained, is_large
from haz.ipyparallel._canning import can, can_callable
from haz.ipyparallel._messages import (
    LOST,
    BalancedMessage,
    DirectMessage,
    EndedMessage,
    Message,
)
from haz.ipyparallel._output_channel import listen
from haz.ipyparallel._records import MOST_RECORDS
from haz.ipyparallel.asyncresult import AsyncHubResult, AsyncResult, seconds_of
from haz.ipyparallel.cluster import (
    DEFAULT_ID,
    Cluster,
    ClusterState,
    cluster_name,
    running_cluster,
    signal_number,
    start_state,
)
from haz.ipyparallel.error import NoEnginesRegistered, TimeoutError
from haz.ipyparallel.view import BroadcastView, DirectView, LoadBalancedView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from haz.ipyparallel.cluster import EngineHandle

__all__ = ["Client"]


class Client:
    """A client of a cluster; its engines are known by their numbers.

    ``client[:]`` is a view of all engines, ``client[0]`` of one, ``client[[0, 2]]`` of some,
    ``client.load_balanced_view()`` of whichever is free.

    Parameters
    ----------
    profile, cluster_id
        The name of the cluster. None: the one that this process started last; where there is
        none, a cluster is started, with one engine for each CPU, and a line says so.
    cluster
        A `Cluster`, instead of its name.
    n
        How many engines a cluster that is started here has.
    **options
        ipyparallel's other options (files, addresses, keys of connections) have no meaning here,
        and are accepted.

    Attributes
    ----------
    block : bool
        Whether new views wait for their results.
    history : list of str
        Ids of all calls.

    Raises
    ------
    NoEnginesRegistered
        If a cluster was named, and there is none of that name.
    """

    def __init__(
        self,
        url_file: Any = None,
        *,
        profile: str | None = None,
        cluster_id: str | None = None,
        cluster: Cluster | None = None,
        n: int | None = None,
        **options: Any,
    ) -> None:
        self.block = False
        self.debug = False
        self.cluster = cluster
        self.profile = profile or "default"
        self._state = self._connect(profile, cluster_id, cluster, n)
        self.history: list[str] = []
        #: Results by ids of calls, kept by whoever puts them here.
        self.results: dict[str, Any] = {}
        self._closed = False
        self._is_canning = True
        self._prefix = listen(self._state.messages)
        self._numbers = itertools.count()
        self._balancer = self._state.balancer
        self._activate_magics()

    @staticmethod
    def _connect(
        profile: str | None, cluster_id: str | None, cluster: Cluster | None, n: int | None
    ) -> ClusterState:
        if cluster is not None:
            return cluster._running()
        name = cluster_name(profile, cluster_id) or None
        state = running_cluster(name)
        if state is not None:
            return state
        if name not in (None, DEFAULT_ID):
            raise NoEnginesRegistered(
                f"there is no cluster {name!r}: start it by `haz cluster start --profile {name}`, "
                f"or in Python by Cluster(profile={name!r}).start_and_connect_sync()"
            )
        state = start_state(n, DEFAULT_ID)
        count = len(state.engines())
        print(f"haz: no cluster was running; started one of {count} engines", file=sys.stderr)
        return state

    def _activate_magics(self) -> None:
        from haz.ipyparallel._display import shell

        here = shell()
        if here is not None and "px" not in here.magics_manager.magics["line"]:
            self.activate()

    def __repr__(self) -> str:
        return f"<Client of cluster {self._state.cluster_id!r}>"

    # ---- engines -----------------------------------------------------------------------------

    @property
    def ids(self) -> list[int]:
        """The numbers of the engines that live."""
        self._check()
        return [engine.id for engine in self._state.engines(now=True)]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[DirectView]:
        return (self[engine_id] for engine_id in self.ids)

    def __getitem__(self, key: Any) -> DirectView:
        """A view of an engine (a number), or of several (a slice or a list).

        Raises
        ------
        IndexError
            If there is no such engine.
        TypeError
            For another key.
        """
        if isinstance(key, bool) or not isinstance(key, (int, slice, tuple, list, range)):
            raise TypeError(f"client[key] takes an int, a slice or a list of ints, and not {key!r}")
        return self.direct_view(key)

    def _check(self) -> None:
        if self._closed:
            raise OSError("this client is closed: make another one")

    @property
    def _engines(self) -> dict[int, str]:
        return {engine.id: engine.uuid for engine in self._state.engines()}

    def _targets(self, targets: Any) -> Any:
        """Targets as a number or a list of numbers of engines that live."""
        if isinstance(targets, int) and not isinstance(targets, bool):
            if targets >= 0 and self._state.known(targets) is not None:
                return targets
            return self._one_of(self.ids, targets)
        ids = self.ids
        if targets is None or targets == "all":
            if not ids:
                raise NoEnginesRegistered(
                    "the cluster has no engine; see Cluster.start_engines_sync()"
                )
            return ids
        if isinstance(targets, slice):
            found = ids[targets]
            if not found:
                raise NoEnginesRegistered(f"no engine is in {targets!r}; there are {ids}")
            return found
        if isinstance(targets, str) or not hasattr(targets, "__iter__"):
            raise TypeError(
                f"targets are an int, a slice, a list of ints, 'all' or None, and not {targets!r}"
            )
        found = [self._one_of(ids, target) for target in targets]
        if not found:
            raise NoEnginesRegistered("a view of no engines can't run anything")
        return found

    def _one_of(self, ids: list[int], target: Any) -> int:
        if isinstance(target, bool) or not isinstance(target, int):
            raise TypeError(f"an engine is known by its number, an int, and not by {target!r}")
        number: int = target
        if number < 0:
            try:
                return ids[number]
            except IndexError:
                raise IndexError(f"there are {len(ids)} engines, and no engine {number}") from None
        if number not in ids:
            fate = self._state.fate(number)
            why = "" if fate is None else f" ({fate}: make the view anew)"
            raise IndexError(f"no such engine: {number}{why}; there are {ids}")
        return number

    def _engines_of(self, targets: Any) -> list[EngineHandle]:
        self._check()
        if type(targets) is list and targets:
            alive = {engine.id: engine for engine in self._state.engines()}
            try:
                return [alive[target] for target in targets]
            except (KeyError, TypeError):
                pass  # told below
        found = self._targets(targets)
        known = [self._state.known(each) for each in ([found] if isinstance(found, int) else found)]
        if self._state.stopped is not None:
            self._state.engines()  # which says so
        return [engine for engine in known if engine is not None]

    def _build_targets(self, targets: Any) -> tuple[list[bytes], list[int]]:
        engines = self._engines_of(targets)
        return [engine.uuid.encode() for engine in engines], [engine.id for engine in engines]

    def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView:
        """A view of engines that are named.

        Parameters
        ----------
        targets
            A number, a list of numbers, a slice; "all" or None: those that live at each call.
        """
        self._check()
        if targets is not None and not (isinstance(targets, str) and targets == "all"):
            targets = self._targets(targets)
        return DirectView(self, targets, **flags)

    def broadcast_view(
        self, targets: Any = "all", is_coalescing: bool = False, **flags: Any
    ) -> BroadcastView:
        """A view of all engines."""
        if targets is not None and not (isinstance(targets, str) and targets == "all"):
            targets = self._targets(targets)
        view = BroadcastView(self, targets, **flags)
        view.is_coalescing = is_coalescing
        return view

    def load_balanced_view(self, targets: Any = None, **flags: Any) -> LoadBalancedView:
        """A view whose calls run on whichever engine is free, of all or of some."""
        self._check()
        if targets == "all":
            targets = None
        if targets is not None:
            found = self._targets(targets)
            targets = [found] if isinstance(found, int) else found
        return LoadBalancedView(self, targets, **flags)

    def executor(self, targets: Any = None) -> Any:
        """A ``concurrent.futures.Executor`` on a load-balanced view."""
        return self.load_balanced_view(targets).executor

    def wait_for_engines(
        self,
        n: int | None = None,
        *,
        timeout: float | None = -1,
        block: bool = True,
        interactive: Any = None,
        widget: Any = None,
    ) -> Future[None] | None:
        """Wait until there are `n` engines; None: as many as the cluster was started with.

        Raises
        ------
        TimeoutError
            If there are not, within `timeout` seconds.
        """
        if n is None:
            n = 1 if self.cluster is None or self.cluster.n is None else self.cluster.n
        if block:
            self._wait_for_engines(n, seconds_of(timeout))
            return None
        future: Future[None] = Future()
        if len(self) >= n:
            future.set_result(None)
            return future

        def wait() -> None:
            try:
                self._wait_for_engines(n, seconds_of(timeout))
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(None)

        threading.Thread(target=wait, name="haz-wait-for-engines", daemon=True).start()
        return future

    def _wait_for_engines(self, n: int, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while len(self) < n:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{n} engines were not there within {timeout} s: {len(self)}")
            time.sleep(0.005)

    # ---- calls -------------------------------------------------------------------------------

    def _can(self, thing: Any, is_called: bool = False) -> Any:
        """What is sent for arguments, or for a function that is called, by the rule that is set."""
        if not self._is_canning:
            return thing
        try:
            return can_callable(thing) if is_called else can(thing)
        except Exception as error:
            part = "the function" if is_called else "what is sent to engines"
            raise explained(error, thing, part) from error

    def _new_id(self) -> str:
        return f"{self._prefix}_{next(self._numbers)}"

    def _remember(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if isinstance(message, DirectMessage):  # noted when it was sent
                self.history.append(message.msg_id)
                self._state.records.add(message.facts)
                self._state.messages.hold(message)
            else:
                self._remember_one(message)

    def _remember_one(self, message: Message) -> None:
        state = self._state
        self.history.append(message.msg_id)
        state.messages.add(message)
        state.records.add(message.facts)

    def _find(self, msg_id: str) -> Message | None:
        return self._state.messages.get(msg_id)

    @property
    def outstanding(self) -> set[str]:
        """Ids of calls that have not ended."""
        found = set()
        for msg_id in self.history:
            message = self._find(msg_id)
            if message is not None and not message.ready():
                found.add(msg_id)
        return found

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the last calls, and those whose results somebody holds, by their ids."""
        known = {facts.msg_id: facts for facts in self._state.records.all()}
        found = {}
        for msg_id in self.history:
            message = self._find(msg_id)
            facts = known.get(msg_id) if message is None else message.facts
            if facts is not None:
                found[msg_id] = facts.metadata()
        return found

    def _messages(self, jobs: Any) -> list[Message]:
        """Calls, by ids, places in the history, or AsyncResults."""
        if isinstance(jobs, (str, int)) or hasattr(jobs, "msg_ids"):
            jobs = [jobs]
        found: list[Message] = []
        for job in jobs:
            if isinstance(job, AsyncResult):
                found += job._messages
                continue
            msg_id = self.history[job] if isinstance(job, int) else job
            if not isinstance(msg_id, str):
                raise TypeError(
                    f"a call is known by its id, its place or its AsyncResult, and not by {job!r}"
                )
            found.append(self._find(msg_id) or self._ended(msg_id))
        return found

    def _ended(self, msg_id: str) -> Message:
        facts = self._state.records.get(msg_id)
        if facts is None or facts.status is None:
            raise KeyError(
                f"no call {msg_id!r} is known: the last {MOST_RECORDS} calls of this program are, and "
                "those whose AsyncResult somebody has; calls of other programs are known there only"
            )
        if facts.status == "ok" and facts.value is LOST:
            raise KeyError(
                f"the result of {msg_id!r} is not kept: it is larger than 4 KB, or of a class of its "
                "own; such a one is kept as long as somebody has its AsyncResult"
            )
        return EndedMessage(facts)

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = True
    ) -> AsyncResult:
        """The AsyncResult of calls: by ids, places in `history`, or AsyncResults to be joined.

        Calls of all clients of the cluster in this program can be asked for.

        Raises
        ------
        KeyError
            If a call or its result is not known: that of the last 2000 calls is kept if it is small
            (4 KB: numbers, texts, arrays, and lists and dicts of some), others as long as somebody
            has their AsyncResult.
        """
        jobs = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        single = isinstance(jobs, (str, int))
        messages = self._messages(jobs)
        is_here = owner or all(message.ready() for message in messages)
        kind = AsyncResult if is_here else AsyncHubResult
        result = kind(self, messages, "get_result", None, single)
        if self.block if block is None else block:
            result.wait()
        return result

    def spin(self) -> None:
        """ipyparallel's name for looking at what has come; nothing has to be done."""

    def spin_thread(self, interval: float = 1) -> None:
        """Nothing has to be done; see `spin`."""

    def stop_spin_thread(self) -> None:
        """Nothing has to be done; see `spin`."""

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for calls to end: ids, places in the history, AsyncResults, futures; None: for all.

        Returns
        -------
        bool
            Whether they have, within `timeout` seconds.
        """
        seconds = seconds_of(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        if jobs is None:
            jobs = list(self.outstanding)
        if isinstance(jobs, (str, int, Future)):
            jobs = [jobs]
        messages: list[Message] = []
        futures: list[Future[Any]] = []
        for job in jobs:
            if isinstance(job, Future) and not isinstance(job, AsyncResult):
                futures.append(job)
            elif isinstance(job, AsyncResult):
                messages += job._messages
            else:
                message = self._find(self.history[job] if isinstance(job, int) else job)
                if message is not None:
                    messages.append(message)
        from concurrent.futures import wait

        from haz.ipyparallel._messages import wait_for_all

        if not wait_for_all(messages, seconds):
            return False
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        return not futures or not wait(futures, left).not_done

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float = -1.0
    ) -> bool:
        """Wait for calls, and show how many have ended."""
        from haz.ipyparallel._progress import show_progress

        messages = self._messages(list(self.outstanding) if jobs is None else jobs)
        if messages:
            show_progress(messages, "waiting", interval, seconds_of(timeout))
        return all(message.ready() for message in messages)

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Abort calls that no engine has begun; their results raise TaskAborted.

        Parameters
        ----------
        jobs
            Ids or AsyncResults; None: all.
        """
        messages = self._messages(list(self.outstanding) if jobs is None else jobs)
        for message in reversed(messages):
            if message.status is not None:
                continue
            if isinstance(message, BalancedMessage):
                self._balancer.abort(message)
            else:
                message.abort()

    def clear(self, targets: Any = None, block: bool | None = None) -> AsyncResult | None:
        """Forget all names on the engines. Returns None where it waited for that."""
        view = DirectView(self, "all" if targets is None else targets)
        result = view._send("clear", fname="clear")
        if not (self.block if block is None else block):
            return result
        result.get()
        return None

    def send_signal(self, sig: Any, targets: Any = None, block: bool | None = None) -> Future[None]:
        """Send a signal to engines, by number or name; SIGINT interrupts what they run."""
        number = signal_number(sig)
        for engine in self._engines_of(targets):
            engine.send_signal(number)
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def queue_status(self, targets: Any = "all", verbose: bool = False) -> dict[Any, Any]:
        """How many calls the engines have, or with `verbose` which.

        Returns
        -------
        dict
            By engine: queue (sent by direct views), tasks (sent by load-balanced views) and
            completed (of the last 2000 calls); "unassigned": calls of load-balanced views that no engine has. For one
            engine, what is known of it.
        """
        status: dict[Any, Any] = {
            engine.id: {"queue": [], "completed": [], "tasks": []}
            for engine in self._engines_of(targets)
        }
        for message in self._state.messages.values():
            about = None if message.engine is None else status.get(message.engine.id)
            if about is not None and not message.ready():
                kind = "queue" if isinstance(message, DirectMessage) else "tasks"
                about[kind].append(message.msg_id)
        for facts in self._state.records.all():
            if facts.status is not None and facts.engine_id in status:
                status[facts.engine_id]["completed"].append(facts.msg_id)
        unassigned = [message.msg_id for message in self._balancer.waiting()]
        if not verbose:
            for about in status.values():
                about.update({kind: len(ids) for kind, ids in about.items()})
        status["unassigned"] = unassigned if verbose else len(unassigned)
        if isinstance(targets, int):
            return status[self._targets(targets)]  # type: ignore[no-any-return]
        return status

    def result_status(self, msg_ids: Any, status_only: bool = True) -> dict[str, Any]:
        """Which calls have ended: {"pending": ids, "completed": ids}, and their results by ids.

        Raises
        ------
        KeyError
            If a call or its result is not known; see `get_result`.
        """
        found: dict[str, Any] = {"pending": [], "completed": []}
        for message in self._messages(msg_ids):
            done = message.ready()
            found["completed" if done else "pending"].append(message.msg_id)
            if done and not status_only:
                found[message.msg_id] = message.outcome
        return found

    def shutdown(
        self,
        targets: Any = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> None:
        """End engines; with `hub`, the whole cluster."""
        if hub:
            self._state.stop("a client shut it down")
            return
        engines = self._engines_of(targets)
        for engine in engines:
            self._state.remove(engine, "a client shut it down")
        if restart:
            self._state.start_engines(len(engines))

    # ---- what is kept ------------------------------------------------------------------------

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results and records of calls; "all": of all calls.

        Raises
        ------
        RuntimeError
            If one of the calls has not ended.
        """
        self.purge_local_results(jobs, targets)
        self.purge_hub_results(jobs, targets)

    def purge_local_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results of calls; "all": of all calls; see `purge_results`."""
        if isinstance(jobs, str) and jobs == "all":
            left = self.outstanding
            if left:
                raise RuntimeError(f"can't forget results of calls that have not ended: {left}")
            self.results.clear()
            for msg_id in self.history:
                self._state.messages.forget(msg_id)
            return
        if isinstance(jobs, str):
            self.results.pop(jobs, None)
            jobs = [jobs] if self._find(jobs) is not None else []
        for message in self._messages(jobs):
            if not message.ready():
                raise RuntimeError(f"can't forget the result of {message.msg_id}: it has not ended")
            self.results.pop(message.msg_id, None)
            self._state.messages.forget(message.msg_id)

    def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget the records of calls, which `db_query` finds; "all": of all."""
        records = self._state.records
        if isinstance(jobs, str):
            records.forget(None if jobs == "all" else [jobs])
            return
        records.forget(
            each if isinstance(each, str) else msg_id
            for each in jobs
            for msg_id in ([each] if isinstance(each, str) else each.msg_ids)
        )

    def purge_everything(self) -> None:
        """Forget all results, records, and the history."""
        self.purge_results("all")
        self.history.clear()

    def hub_history(self) -> list[str]:
        """Ids of the last calls of all clients of the cluster in this process."""
        return self._state.records.history()

    def db_query(self, query: dict[str, Any], keys: Any = None) -> list[dict[str, Any]]:
        """Find records of calls.

        Parameters
        ----------
        query
            Values of metadata by names, or tests of them: ``{"engine_id": 0}``,
            ``{"completed": {"$gt": time}}``; $lt, $lte, $gt, $gte, $eq, $ne, $in, $nin, $exists.
        keys
            Names of the metadata that are wanted, besides the id. None: all.

        Raises
        ------
        ValueError
            For another test.
        """
        if not isinstance(query, dict):
            raise TypeError(f"a query is a dict, and not {type(query).__name__}")
        return self._state.records.query(query, keys)

    def resubmit(
        self, indices_or_msg_ids: Any = None, metadata: Any = None, block: bool | None = None
    ) -> AsyncResult:
        """Make calls of load-balanced views again.

        Raises
        ------
        KeyError
            If a call is not known, or was none of a load-balanced view.
        """
        jobs: Any = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        single = isinstance(jobs, (str, int))
        ids: list[str] = []
        for job in [jobs] if single or hasattr(jobs, "msg_ids") else jobs:
            if isinstance(job, int):
                job = self.history[job]
            ids += [job] if isinstance(job, str) else job.msg_ids
        messages: list[BalancedMessage] = []
        for msg_id in ids:
            facts = self._state.records.get(msg_id)
            if facts is None or facts.call is None:
                raise KeyError(f"no call {msg_id!r} of a load-balanced view is known")
            message = BalancedMessage(self._new_id(), facts.label, facts.call)
            message.is_alone = any(map(is_large, facts.call[2:]))
            messages.append(message)
        self._remember(messages)
        for message in messages:
            self._balancer.submit(message)
        result = AsyncResult(self, messages, "resubmit", None, single)
        if self.block if block is None else block:
            result.wait()
        return result

    # ---- the rest ----------------------------------------------------------------------------

    def activate(self, targets: Any = "all", suffix: str = "") -> DirectView:
        """Make a view, and let the magics ``%px`` and so on use it; see `DirectView.activate`."""
        view = self.direct_view(targets)
        view.block = True
        view.activate(suffix)
        return view

    def close(self, linger: float | None = None) -> None:
        """Use the client no more. Its engines stay."""
        self._closed = True

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
