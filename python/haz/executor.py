"""``haz.Executor``: `concurrent.futures.ProcessPoolExecutor`'s interface on haz's workers."""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from _thread import allocate_lock
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError, Future
from concurrent.futures import Executor as _Executor
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from time import monotonic

from haz._core.api import cluster_resources
from haz._core.lifecycle import init, is_initialized
from haz._core.options import check_int
from haz._faces.at_exit import at_exit
from haz._faces.functions import code_of
from haz._faces.group import WorkerGroup
from haz._faces.outcomes import plain_error
from haz._faces.private import PLAIN, writable
from haz._faces.progress import check_progress, show_progress, total_of
from haz._faces.worker import RaisedInCall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, NoReturn, ParamSpec, TypeVar

    from haz._faces.processes import WorkerProcess
    from haz._faces.progress import Shown

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = ["Executor"]

_DONE = (FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED)

#: Guards the state of futures without a condition, and making one. Nothing else is locked inside.
_making_condition = allocate_lock()


class _Future(Future):  # type: ignore[type-arg]
    """A future that makes its condition and lists, most of its price, when somebody waits for it."""

    code: Any
    args: Any
    kwargs: dict[str, Any] | None = None
    alone = False
    #: Whether it has a condition, so that its state is guarded by that.
    _is_waited_for = False
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None

    def __init__(self) -> None:
        pass  # not Future.__init__, see the class

    def __getattr__(self, name: str) -> Any:
        made: Any
        if name == "_condition":
            made = threading.Condition()
        elif name in ("_waiters", "_done_callbacks"):
            made = []
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with _making_condition:
            self._is_waited_for = True
            return self.__dict__.setdefault(name, made)

    def cancelled(self) -> bool:
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        return self._state == RUNNING

    def done(self) -> bool:
        return self._state in _DONE

    def result(self, timeout: float | None = None) -> Any:
        if self._state == FINISHED and self._exception is None:
            return self._result
        try:
            return super().result(timeout)
        finally:
            del self  # breaks a reference cycle with the traceback, as the base class does

    # ---- as a Call of a WorkerGroup ------------------------------------------------------------

    def begin(self) -> bool:
        with _making_condition:
            if not self._is_waited_for:
                self._state = RUNNING
                return True
        return self._state == RUNNING or self.set_running_or_notify_cancel()

    @staticmethod
    def begin_each(futures: list[Any]) -> list[Any]:
        """Begin those that should run; return them."""
        waited_for = False
        with _making_condition:
            for future in futures:
                if future._is_waited_for:
                    waited_for = True
                else:
                    future._state = RUNNING
        if not waited_for:
            return futures
        return [one for one in futures if not one._is_waited_for or one.begin()]

    def rest(self) -> None:
        with _making_condition:
            if not self._is_waited_for:
                self._state = PENDING
                return
        with self._condition:
            if self._state == RUNNING:
                self._state = PENDING

    def deliver(self, value: Any, error: BaseException | None) -> None:
        self.code = self.args = self.kwargs = None
        if type(error) is CancelledError and self.cancel():
            self.set_running_or_notify_cancel()  # tells those who wait
            return
        try:
            if error is not None:
                error = plain_error(error)
            elif type(value) is RaisedInCall:
                error = plain_error(value)
            elif type(value) not in PLAIN:
                value = writable(value)
        except Exception as raised:  # as where there is no memory: nobody may wait for ever
            error = raised
        if error is None:
            with _making_condition:
                if not self._is_waited_for:
                    self._result = value
                    self._state = FINISHED
                    return
            self.set_result(value)
        else:
            if self._state == PENDING and not self.set_running_or_notify_cancel():
                return
            self.set_exception(error)

    @staticmethod
    def deliver_each(calls: list[Any], values: Sequence[Any]) -> None:
        """Deliver what the first of these calls returned."""
        others = []
        with _making_condition:
            for future, value in zip(calls, values, strict=False):
                if future._is_waited_for or type(value) not in PLAIN:
                    others.append((future, value))
                else:
                    future.code = future.args = future.kwargs = None
                    future._result = value
                    future._state = FINISHED
        for future, value in others:
            try:
                future.deliver(value, None)
            except BaseException:
                sys.excepthook(*sys.exc_info())  # the others get theirs


class Executor(_Executor):
    """Runs calls in worker processes, with the interface of ``ProcessPoolExecutor``. Thread-safe.

    Beyond that interface: lambdas, closures and functions of notebooks work, and no
    ``if __name__ == "__main__"`` is needed; a worker that dies fails only the call that it ran, with
    the reason as ``__cause__``, and the executor lives on; executors can be made in their own calls.

    Parameters
    ----------
    max_workers
        The most processes at a time. Default: the CPUs of the node. They start when there are calls
        for them, hold no CPUs of the node, and end with `shutdown`.
    mp_context
        Accepted; there is one way to start workers.
    initializer, initargs
        Called in each worker at its start. If it raises, all calls that have not ended, and later
        ones, raise BrokenProcessPool.
    max_tasks_per_child
        Number of calls after which a worker process is replaced. Default: never.

    Notes
    -----
    haz is initialized if it is not. A function that can be imported is sent by its name; others are
    copied with what is around them, as that is at the call. Arguments that can't be pickled are an
    error of the future. Arrays that functions get, and results, are writable and private: large ones
    are mapped so that only pages that are written to are copied.

    Examples
    --------
    >>> with haz.Executor() as executor:
    ...     future = executor.submit(pow, 2, 10)
    ...     print(future.result(), list(executor.map(abs, [-1, 2])))
    1024 [1, 2]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        if max_workers is not None and check_int("max_workers", max_workers, -(2**31)) <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if max_tasks_per_child is not None:
            check_int("max_tasks_per_child", max_tasks_per_child, 1)
        if not is_initialized():
            init()
        if max_workers is None:
            max_workers = max(int(cluster_resources().get("CPU", 1)), 1)
        self._max_workers = max_workers
        self._state = _State()
        self._group = WorkerGroup(
            max_workers,
            initializer=initializer,
            initargs=tuple(initargs),
            max_calls=max_tasks_per_child,
            name="executor",
            on_broken=self._state.note_broken,
        )
        # As in the standard library, calls that were made are done though the executor goes, or
        # the program comes to its end.
        finalizer: Any = weakref.finalize(self, self._group.close)
        finalizer.atexit = False
        at_exit(self._group, _finish)

    @property
    def _processes(self) -> dict[int, WorkerProcess]:
        """The processes that there are, by pid: what programs look for in a ProcessPoolExecutor."""
        return {process.pid: process for process in self._group.processes()}

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start ``fn(*args, **kwargs)`` in a worker; return a future of its result.

        Raises
        ------
        RuntimeError
            After `shutdown`, or when haz was shut down.
        BrokenProcessPool
            If the initializer has failed.
        """
        future = _Future()
        future.args = args
        if kwargs:
            future.kwargs = kwargs
        group = self._group
        try:
            try:
                future.code = code_of(fn)
            except Exception as error:
                group.fail(future, error)  # type: ignore[arg-type]
            else:
                group.submit(future)  # type: ignore[arg-type]
        except RuntimeError:
            self._state.raise_reason()
            raise
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        progress: bool | str | Callable[[int, int | None, int], object] = False,
    ) -> Iterator[T]:
        """Return an iterator over ``fn(*items)``, in order; calls run at the same time.

        Parameters
        ----------
        fn
            Takes one item of each iterable.
        timeout
            Seconds from now after which ``next`` raises TimeoutError. Default: as long as it takes.
        chunksize
            Items that are sent together.
        buffersize
            The most items that are read from the iterables before their results are taken, so that
            they may be endless. Default: all, at once.
        progress
            That of `haz.map`; it counts results that were taken.

        Raises
        ------
        Exception
            What `fn` raises, where its result would come; calls that have not begun are cancelled.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None:
            check_int("buffersize", buffersize, -(2**31))
            if buffersize < 1:
                raise ValueError("buffersize must be None or > 0")
        check_progress(progress)
        end = None if timeout is None else monotonic() + timeout
        total = total_of(iterables) if progress else None
        items = zip(*iterables, strict=False)
        if chunksize == 1:
            one_by_one = _results(self, (lambda one: self.submit(fn, *one)), items, end, buffersize)
            return _shown(one_by_one, progress, fn, total)
        chunks = iter(lambda: list(itertools.islice(items, chunksize)), [])
        ahead = None if buffersize is None else max(buffersize // chunksize, 1)
        lists = _results(
            self, (lambda chunk: self.submit(_call_each, fn, chunk)), chunks, end, ahead
        )
        return _shown(itertools.chain.from_iterable(lists), progress, fn, total)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let the workers end when those that were made have.

        Parameters
        ----------
        wait
            Wait for that.
        cancel_futures
            Cancel the calls that have not begun.
        """
        self._group.close()
        if cancel_futures:
            self._group.cancel_waiting()
        if wait:
            self._group.join()

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Wait for the calls that were made; after Ctrl-C, end them."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            _interrupt(self._group)
        self.shutdown()

    def __repr__(self) -> str:
        return f"<haz.Executor max_workers={self._max_workers}>"


class _State:
    """Why the executor takes no calls; apart from it, so that its group does not keep it."""

    def __init__(self) -> None:
        self._reason: BaseException | None = None

    def note_broken(self, error: BaseException) -> None:
        self._reason = error

    def raise_reason(self) -> None:
        if self._reason is not None:
            _raise_broken(self._reason)


def _raise_broken(reason: BaseException) -> NoReturn:
    error = plain_error(reason)
    raise type(error)(*error.args) from error.__cause__


def _call_each(fn: Callable[..., T], chunk: list[tuple[Any, ...]]) -> list[T]:
    return [fn(*items) for items in chunk]


def _results(
    executor: Executor,
    submit: Callable[[Any], Future[Any]],
    items: Iterator[Any],
    end: float | None,
    ahead: int | None,
) -> Iterator[Any]:
    """Submit what may be ahead, now; return an iterator that submits the rest as it is read."""
    futures = deque(submit(item) for item in itertools.islice(items, ahead))

    def results() -> Iterator[Any]:
        try:
            while futures:
                if ahead is not None:
                    for item in itertools.islice(items, 1):
                        futures.append(submit(item))
                # Nothing here may keep the future whose result is yielded.
                yield _result_or_cancel(futures.popleft(), end)
        finally:
            for future in futures:
                future.cancel()

    return results()


def _shown(
    results: Iterator[T], progress: Any, fn: Callable[..., T], total: int | None
) -> Iterator[T]:
    shown = show_progress(progress, str(getattr(fn, "__name__", "map")), total)
    return results if shown is None else _told_of(results, shown)


def _told_of(results: Iterator[T], shown: Shown) -> Iterator[T]:
    done = failed = 0
    try:
        for result in results:
            done += 1
            shown.update(done, 0)
            yield result
    except Exception:
        failed = 1
        raise
    finally:
        if failed:
            shown.update(done + 1, 1)
        shown.close()


def _result_or_cancel(future: Future[Any], end: float | None) -> Any:
    try:
        try:
            return future.result(None if end is None else end - monotonic())
        finally:
            future.cancel()
    finally:
        del future


def _finish(group: WorkerGroup) -> None:
    # An uncaught one has been shown by now. In a terminal's session it may be of long ago.
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        _interrupt(group)
    group.close()
    group.join()


def _interrupt(group: WorkerGroup) -> None:
    """End the calls that run, and cancel the others: workers do not hear of Ctrl-C themselves."""
    group.cancel_waiting()
    group.terminate(BrokenExecutor("the executor was interrupted before this call had ended"))
