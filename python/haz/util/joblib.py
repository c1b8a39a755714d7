"""haz as a backend of joblib: ``register_haz()``, then ``joblib.parallel_backend("haz")``.

Each batch of calls that joblib makes is a task. Big arrays among the arguments are read-only.
"""

from __future__ import annotations

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from haz._core.api import cancel, cluster_resources
from haz._core.lifecycle import init, is_initialized
from haz._core.remote import remote
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

    from haz._core.refs import ObjectRef

__all__ = ["register_haz", "register_ray"]


def _run_batch(batch: Callable[[], Any]) -> Any:
    return batch()


class HazBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs batches of calls as tasks of haz."""

    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True
    default_n_jobs = -1

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: Any = None,
        require: Any = None,
        **_: Any,
    ) -> int:
        """Begin a ``Parallel``; return the number of tasks at a time."""
        if require == "sharedmem":
            raise ValueError("tasks of haz run in other processes: require='sharedmem' can't be")
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._submit = remote(_run_batch).options(name="joblib")
        self._under_way: dict[Future[Any], ObjectRef[Any]] = {}
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
        cpus = max(int(cluster_resources().get("CPU", 1)), 1)
        return max(cpus + 1 + n_jobs, 1)

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
    ) -> Future[Any]:
        """Start one batch; `callback` gets the future."""
        ref = self._submit.remote(func)
        future: Future[Any] = ref.future()
        self._under_way[future] = ref
        future.add_done_callback(self._forget)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def _forget(self, future: Future[Any]) -> None:
        self._under_way.pop(future, None)

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return a batch's results, or raise its error."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what has not ended."""
        for ref in list(self._under_way.values()):
            cancel(ref)
        self._under_way.clear()

    def terminate(self) -> None:
        """End a ``Parallel``."""
        self.reset_batch_stats()


def register_haz() -> None:
    """Make ``"haz"`` and ``"ray"`` names of joblib backends that run on haz."""
    for name in ("haz", "ray"):
        register_parallel_backend(name, HazBackend)


#: The same, by Ray's name.
register_ray = register_haz
