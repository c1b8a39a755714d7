"""haz as a backend of joblib: ``haz.joblib.register()``, then ``joblib.parallel_config("haz")``.

Each batch of calls that joblib makes is a task. Big arrays among the arguments are shared and
read-only, as those that joblib itself maps into memory are.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from joblib.parallel import (
    AutoBatchingMixin,
    BatchedCalls,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    ThreadingBackend,
    register_parallel_backend,
)

from haz._core.api import cancel, cluster_resources, put
from haz._core.futures import when_ready
from haz._core.lifecycle import init, is_initialized
from haz._core.remote import remote
from haz._core.runtime import runtime
from haz._core.serialize import dumps
from haz._faces.joblib_batch import run_batch, run_calls
from haz.multiprocessing.context import cpu_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz._core.refs import ObjectRef
    from haz._faces.joblib_batch import Setup

__all__ = ["HazBackend", "register"]


#: Backends for ``Parallel`` inside of calls that workers make without joblib being there.
_NESTED = (ThreadingBackend, SequentialBackend)


class HazBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs batches of calls as tasks of haz.

    As many run at a time as ``n_jobs`` says, and no more than the node has CPUs for other tasks of one
    CPU: with more jobs than CPUs each takes a part of one. A batch whose worker dies is an error.
    Parallel calls inside of calls run in threads, as joblib's own backends have it; those that name
    this backend are tasks beside the call's own. ``initializer`` and ``initargs`` are called in a
    worker before its first batch that has them, and again after one that has others.
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **options: Any,
    ) -> int:
        """Begin a ``Parallel``; return the number of tasks at a time."""
        if require == "sharedmem":
            raise ValueError("tasks of haz run in other processes: require='sharedmem' can't be")
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        of_task: dict[str, Any] = {"max_retries": 0, "num_cpus": _share(n_jobs)}
        self._run_batch = remote(name="joblib", **of_task)(run_batch)
        self._run_calls = remote(name="joblib", **of_task)(run_calls)
        options = {**self.backend_kwargs, **options}
        self._setup = _setup(options.get("initializer"), options.get("initargs", ()))
        self._lock = threading.Lock()
        #: Batches that wait since so many run as there are jobs.
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._running: dict[Future[Any], ObjectRef[Any]] = {}
        #: Batches that have ended; and whether somebody sees to them. One by one, and not where they
        #: are told of: a batch that has ended by the time it is asked for is told of at once, inside
        #: of the one before, and a thousand short ones would be as deep.
        self._ended: deque[_Ending] = deque()
        self._is_seen_to = False
        self._most = n_jobs
        return n_jobs

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many tasks ``n_jobs`` means; haz is initialized if it is not."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if not is_initialized():
            init()
        if n_jobs is None or (runtime.engine is not None and runtime.engine.name == "inline"):
            return 1
        if n_jobs > 0:
            return n_jobs
        return max(_cpus() + 1 + n_jobs, 1)

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
    ) -> Future[Any]:
        """Start one batch, as soon as there is a job for it; `callback` gets the future."""
        future: Future[Any] = Future()
        if callback is not None:
            future.add_done_callback(callback)
        with self._lock:
            self._waiting.append((func, future))
        self._start_some()
        return future

    def _start_some(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or len(self._running) >= self._most:
                    return
                func, future = self._waiting.popleft()
                try:
                    ref = self._send(func)
                except Exception as error:
                    future.set_exception(error)
                    continue
                self._running[future] = ref
            when_ready(ref, _Ending(self, ref, future))

    def _send(self, batch: Any) -> Any:
        threads = self.inner_max_num_threads
        nested: Any = getattr(batch, "_backend", None)
        is_plain = type(batch) is BatchedCalls and batch._reducer_callback is None
        if not is_plain or type(nested) not in _NESTED:
            return self._run_batch.remote(batch, threads, self._setup)
        name, level = type(nested).__name__, nested.nesting_level
        jobs = batch._n_jobs
        return self._run_calls.remote(batch.items, name, level, jobs, threads, self._setup)

    def _end(self, future: Future[Any]) -> None:
        with self._lock:
            self._running.pop(future, None)
        self._start_some()

    def _see_to(self, ended: _Ending) -> None:
        with self._lock:
            self._ended.append(ended)
            if self._is_seen_to:
                return
            self._is_seen_to = True
        interrupted: BaseException | None = None
        while True:
            with self._lock:
                if not self._ended:
                    self._is_seen_to = False
                    break
                next_one = self._ended.popleft()
            try:
                next_one.finish()
            except BaseException as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return a batch's results, or raise its error."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what has not ended."""
        with self._lock:
            waiting, running = list(self._waiting), list(self._running.values())
            self._waiting.clear()
        for _, future in waiting:
            future.cancel()
        for ref in running:
            cancel(ref)

    def terminate(self) -> None:
        """End a ``Parallel``."""
        self.reset_batch_stats()


class _Ending:
    """Gives the outcome of a batch to its future, and its place to another."""

    def __init__(self, backend: HazBackend, ref: ObjectRef[Any], future: Future[Any]) -> None:
        self._backend = backend
        self._ref = ref
        self._future = future

    def __call__(self) -> None:
        self._backend._see_to(self)

    def finish(self) -> None:
        from haz._core.api import get

        self._backend._end(self._future)
        try:
            value = get(self._ref)
        except BaseException as error:
            from haz._faces.outcomes import plain_error

            self._future.set_exception(plain_error(error))
        else:
            self._future.set_result(value)


def _setup(initializer: Callable[..., object] | None, initargs: Any) -> Setup | None:
    """What a worker has to do before the batches of a ``Parallel``: by the bytes of it, once."""
    if initializer is None:
        return None
    if not callable(initializer):
        raise TypeError("initializer must be a callable")
    from hashlib import sha256

    value = initializer, tuple(initargs)
    data, buffers = dumps(value)
    digest = sha256(data)
    for buffer in buffers:
        digest.update(buffer)
    return digest.digest(), [put(value)]


def _cpus() -> int:
    """The CPUs of the node; in a task or an actor, those that it has."""
    return cpu_count() if runtime.is_worker else max(int(cluster_resources().get("CPU", 1)), 1)


def _share(n_jobs: int) -> float:
    """The CPUs of a batch. In a worker they are its own, which it holds while joblib waits."""
    if runtime.is_worker:
        return 0.0
    return min(1.0, max(int(10_000 * _cpus() / n_jobs), 1) / 10_000)  # as fine as resources are


def register(name: str = "haz", make_default: bool = False) -> None:
    """Make `name` a joblib backend that runs on haz: ``joblib.parallel_config(backend="haz")``.

    Parameters
    ----------
    name
        The name. Default "haz".
    make_default
        Whether ``Parallel`` runs on it where no backend is asked for.
    """
    register_parallel_backend(name, HazBackend, make_default=make_default)
