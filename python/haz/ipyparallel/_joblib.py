"""A view as a backend of joblib."""

from __future__ import annotations

from joblib.parallel import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
    register_parallel_backend,
)

from haz.ipyparallel.client import Client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from haz.ipyparallel.asyncresult import AsyncResult
    from haz.ipyparallel.view import LoadBalancedView

__all__ = ["ViewBackend", "register"]


class ViewBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs joblib's batches of calls on the engines of a view."""

    supports_retrieve_callback = True
    supports_return_generator = True
    supports_timeout = True
    default_n_jobs = -1

    def __init__(self, view: LoadBalancedView, **options: Any) -> None:
        super().__init__(**options)
        self._view = view
        self._under_way: set[AsyncResult] = set()

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return how many engines `n_jobs` means: all, or fewer where it says so."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        engines = len(self._view)
        if n_jobs is None or n_jobs < 0:
            return max(engines + 1 + (n_jobs or -1), 1)
        return min(n_jobs, engines)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, **options: Any
    ) -> int:
        """Begin a ``Parallel``; return the number of engines."""
        if options.get("require") == "sharedmem":
            raise ValueError("engines are other processes: require='sharedmem' can't be")
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        return n_jobs

    def submit(
        self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None
    ) -> AsyncResult:
        """Start one batch; `callback` gets its AsyncResult."""
        result = self._view.apply_async(func)
        self._under_way.add(result)
        result.add_done_callback(lambda _: self._under_way.discard(result))
        if callback is not None:
            result.add_done_callback(callback)
        return result

    def retrieve_result_callback(self, result: AsyncResult) -> Any:
        """Return a batch's results, or raise its error."""
        return result.get()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Abort what has not begun."""
        for result in list(self._under_way):
            result.cancel()
        self._under_way.clear()

    def terminate(self) -> None:
        """End a ``Parallel``."""
        self.reset_batch_stats()


def register(view: LoadBalancedView | None, name: str, make_default: bool) -> None:
    """Let joblib run on the engines of `view` under a backend's name; None: on all of a `Client`."""

    def make(**options: Any) -> ViewBackend:
        return ViewBackend(Client().load_balanced_view() if view is None else view, **options)

    register_parallel_backend(name, make, make_default=make_default)
