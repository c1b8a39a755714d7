"""`ViewExecutor`: ``concurrent.futures.Executor`` on a view."""

from __future__ import annotations

import concurrent.futures
import time

from haz.ipyparallel.asyncresult import AsyncResult, seconds_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from haz.ipyparallel._view import View
    from haz.ipyparallel.asyncresult import AsyncResult

__all__ = ["ViewExecutor"]


class ViewExecutor(concurrent.futures.Executor):
    """``concurrent.futures.Executor`` on a view: ``view.executor``.

    `shutdown` waits for what was submitted, and leaves the engines as they are.
    """

    def __init__(self, view: View) -> None:
        self.view = view

    @property
    def _max_workers(self) -> int:
        return len(self.view)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> AsyncResult:
        """The same as ``view.apply_async``."""
        return self.view.apply_async(fn, *args, **kwargs)

    def map(  # type: ignore[override]
        self, fn: Any, /, *iterables: Any, **options: Any
    ) -> Iterator[Any]:
        """The same as ``view.imap``; `timeout` is seconds for all results, from now on."""
        timeout = seconds_of(options.pop("timeout", None))
        options.pop("buffersize", None)
        options.pop("chunksize", None)
        results = self.view.imap(fn, *iterables, **options)
        if timeout is None:
            return results
        return _within(results, time.monotonic() + timeout)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what was submitted."""
        for lazy in list(self.view._outstanding_maps):
            lazy.cancel() if cancel_futures else lazy._submit_all()
        if cancel_futures:
            self.view.abort()
        if wait:
            self.view.wait()


def _within(results: Any, deadline: float) -> Iterator[Any]:
    while getattr(results, "_running", True):
        left = deadline - time.monotonic()
        running = getattr(results, "_running", None)
        if running and not running[0].wait(max(0.0, left)):
            raise TimeoutError("the results were not there within the timeout")
        try:
            yield next(results)
        except StopIteration:
            return
