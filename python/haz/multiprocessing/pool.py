"""``Pool``, with the interface of ``multiprocessing.pool``, on workers of haz."""

from __future__ import annotations

import itertools
import warnings
import weakref
from multiprocessing import TimeoutError

from haz._core.api import cluster_resources, put
from haz._core.lifecycle import init, is_initialized
from haz._core.options import check_int
from haz._faces.at_exit import at_exit
from haz._faces.call import Call
from haz._faces.functions import code_of
from haz._faces.group import WorkerGroup
from haz._faces.progress import check_progress, show_progress, total_of
from haz._faces.worker import (
    Shared,
    map_chunk,
    map_shared_chunk,
    map_until_error,
    starmap_chunk,
)
from haz._native import make_call
from haz.multiprocessing.results import (
    ApplyResult,
    AsyncResult,
    ChunkCall,
    IMapIterator,
    MapResult,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.pool import (  # type: ignore[attr-defined]
        MaybeEncodingError as MaybeEncodingError,
    )
    from multiprocessing.pool import (  # type: ignore[attr-defined]
        RemoteTraceback as RemoteTraceback,
    )
    from multiprocessing.pool import ThreadPool as ThreadPool
    from types import TracebackType
    from typing import Any, TypeAlias

    from haz._faces.processes import WorkerProcess

    Progress: TypeAlias = bool | str | Callable[[int, int | None, int], object]

__all__ = [
    "ApplyResult",
    "AsyncResult",
    "IMapIterator",
    "MapResult",
    "MaybeEncodingError",
    "Pool",
    "RemoteTraceback",
    "ThreadPool",
    "TimeoutError",
]

#: Chunks of an ``imap`` that are submitted for each process before their results are taken.
_AHEAD = 2
#: Arrays and bytes of this size that several calls of a ``map`` have are stored once.
_LEAST_SHARED_BYTES = 256 * 1024
_SMALL = frozenset((type(None), bool, int, float))


def __getattr__(name: str) -> object:
    """Return what else the standard library's ``multiprocessing.pool`` has; it is imported then."""
    if not name.startswith("__"):
        standard = __import__("multiprocessing.pool", fromlist=[name])
        if hasattr(standard, name):
            return getattr(standard, name)
    raise AttributeError(f"module 'haz.multiprocessing.pool' has no attribute {name!r}")


class Pool:
    """A pool of processes, with the interface of ``multiprocessing.Pool``. Thread-safe.

    Beyond that: lambdas, closures and functions of notebooks work, and no
    ``if __name__ == "__main__"`` is needed; a call whose process dies raises ActorDiedError, and the
    pool goes on; so does a result that is waited for when the pool is terminated, with ValueError.
    Pools can be made in calls of pools. ``imap`` reads its iterable as results are taken.

    Parameters
    ----------
    processes
        How many. Default: the CPUs of the node; haz is initialized if it is not. They hold no CPUs.
    initializer, initargs
        Called in each process at its start.
    maxtasksperchild
        Calls after which a process is replaced; None: never. A chunk of a ``map`` is one call.
    context
        Accepted; there is one way to start processes.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,
    ) -> None:
        self._start(processes, initializer, initargs, maxtasksperchild, None)

    def _start(
        self,
        processes: int | None,
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        maxtasksperchild: int | None,
        actor_options: dict[str, Any] | None,
    ) -> None:
        self._closed = True  # until there is something to close
        if processes is not None and check_int("processes", processes, -(2**31)) < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None:
            try:
                check_int("maxtasksperchild", maxtasksperchild, 1)
            except TypeError as error:  # as the standard library has it
                raise ValueError(str(error)) from None
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not is_initialized():
            init()
        if processes is None:
            processes = max(int(cluster_resources().get("CPU", 1)), 1)
        self._processes = processes
        self._iterators: weakref.WeakSet[IMapIterator] = weakref.WeakSet()
        self._group = WorkerGroup(
            processes,
            initializer=initializer,
            initargs=tuple(initargs),
            max_calls=maxtasksperchild,
            options=actor_options,
        )
        self._group.start_all()
        finalizer: Any = weakref.finalize(self, _terminate, self._group)
        finalizer.atexit = False
        at_exit(self._group, _terminate)
        self._closed = False

    @property
    def _pool(self) -> list[WorkerProcess]:
        """The processes that there are: what programs look for in a pool of the standard library."""
        return self._group.processes()

    # ---- calls ---------------------------------------------------------------------------------

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None
    ) -> Any:
        """Call ``func(*args, **kwds)`` in a process of the pool; return its result."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start ``func(*args, **kwds)``. Callbacks run in a thread of the pool; keep them short."""
        failed = code = None
        try:
            code = code_of(func)
        except Exception as error:
            failed = error
        result: AsyncResult = make_call(  # type: ignore[no-untyped-call]
            AsyncResult, code, args if type(args) is tuple else tuple(args), kwds or None
        )
        if self._closed or callback is not None or error_callback is not None:
            self._expect(result, callback, error_callback)
        if failed is not None:
            self._group.fail(result, failed)
            return result
        try:
            self._group.submit(result)
        except RuntimeError as error:
            raise ValueError(f"Pool not running: {error}") from error
        return result

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        *,
        progress: Progress = False,
    ) -> list[Any]:
        """Return ``[func(item) for item in iterable]``, computed in chunks by all processes.

        `progress` is that of `haz.map`; it goes on by chunks, and a chunk that fails counts as one.
        """
        result: list[Any] = self.map_async(func, iterable, chunksize, progress=progress).get()
        return result

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        progress: Progress = False,
    ) -> AsyncResult:
        """Start a `map`."""
        run: Callable[..., Any] = map_chunk
        items: Sequence[Any] = iterable if type(iterable) is range else list(iterable)
        if type(items) is list and not _SMALL.issuperset(map(type, items)):
            calls = [(item,) for item in items]
            shared = _shared(calls)
            if shared is not calls:
                run, items = map_shared_chunk, [item for (item,) in shared]
        return self._map(run, func, items, chunksize, callback, error_callback, progress)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        *,
        progress: Progress = False,
    ) -> list[Any]:
        """Return ``[func(*args) for args in iterable]``, computed as by `map`."""
        result: list[Any] = self.starmap_async(func, iterable, chunksize, progress=progress).get()
        return result

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        progress: Progress = False,
    ) -> AsyncResult:
        """Start a `starmap`."""
        items = _shared([tuple(args) for args in iterable])
        return self._map(starmap_chunk, func, items, chunksize, callback, error_callback, progress)

    def _map(
        self,
        run: Callable[..., Any],
        function: Callable[..., Any],
        items: Sequence[Any],
        chunksize: int | None,
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        progress: Progress,
    ) -> AsyncResult:
        self._check_running()
        check_progress(progress)
        size = _chunk_size(chunksize) or -(-len(items) // (self._processes * 4)) or 1
        result = MapResult()
        self._expect(result, callback, error_callback)
        try:
            code = code_of(function)
        except Exception as error:
            self._group.fail(result, error)
            return result
        chunks = [
            ChunkCall(code_of(run), (code, items[at : at + size]), place, result.take_chunk)
            for place, at in enumerate(range(0, len(items), size))
        ]
        shown = None
        if progress:
            name = str(getattr(function, "__name__", "map"))
            shown = show_progress(progress, name, len(items))
        result.begin_chunks(chunks, [len(chunk.args[1]) for chunk in chunks], shown)
        for chunk in chunks:
            chunk.result = result
        self._submit(*chunks)
        return result

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        progress: Progress = False,
    ) -> IMapIterator:
        """Return an iterator over ``func(item)``, in order; it reads `iterable` as it is read.

        `progress` is that of `haz.map`; it counts the results that were taken.
        """
        return self._imap(func, iterable, chunksize, progress, ordered=True)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        progress: Progress = False,
    ) -> IMapIterator:
        """As `imap`, in the order in which results come."""
        return self._imap(func, iterable, chunksize, progress, ordered=False)

    def _imap(
        self,
        function: Any,
        iterable: Iterable[Any],
        chunksize: int,
        progress: Progress,
        *,
        ordered: bool,
    ) -> IMapIterator:
        self._check_running()
        check_progress(progress)
        size = _chunk_size(chunksize) or 1
        items = iter(iterable)
        chunks: Iterator[Any] = iter(lambda: list(itertools.islice(items, size)), [])
        run, code, submit = code_of(map_until_error), code_of(function), self._submit

        def start(chunk: Any, place: int, take: Callable[[int, Any, Any], object]) -> None:
            submit(ChunkCall(run, (code, chunk), place, take))

        shown = None
        if progress:
            name = str(getattr(function, "__name__", "imap"))
            shown = show_progress(progress, name, total_of((iterable,)))
        ahead = self._processes * _AHEAD
        iterator = IMapIterator(start, chunks, ahead, ordered=ordered, shown=shown)
        self._iterators.add(iterator)
        return iterator

    def _expect(
        self,
        result: AsyncResult,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        self._check_running()
        if callback is not None:
            result._callback = callback
        if error_callback is not None:
            result._error_callback = error_callback

    def _unfinished(self) -> int:
        """How many results of ``*_async`` calls are not there."""
        calls = self._group.calls()
        results = {id(call) for call in calls if isinstance(call, AsyncResult)}
        chunks = {id(call.result) for call in calls if isinstance(call, ChunkCall) and call.result}
        return len(results | chunks)

    def _submit(self, *calls: Call) -> None:
        try:
            if len(calls) == 1:
                self._group.submit(calls[0])
            else:
                self._group.submit_all(calls)
        except RuntimeError as error:
            raise ValueError(f"Pool not running: {error}") from error

    # ---- the end -------------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def close(self) -> None:
        """Take no more calls; those that were made go on, and so do iterators of ``imap``."""
        self._closed = True
        if not self._iterators:
            self._group.close()

    def terminate(self) -> None:
        """End all processes now. Results that are not there yet raise ValueError."""
        self._closed = True
        _terminate(self._group)

    def join(self) -> None:
        """Wait until all calls and the processes have ended. After `close` or `terminate` only."""
        if not self._closed:
            raise ValueError("Pool is still running")
        for iterator in list(self._iterators):
            iterator.feed(everything=True)
        self._group.close()
        self._group.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._group.deliver_ended()
        lost = self._unfinished()
        self.terminate()
        if lost and kind is None:
            what = "1 result is lost that is" if lost == 1 else f"{lost} results are lost that are"
            warnings.warn(
                f"leaving the block of {self!r} terminated it: {what} not there yet. Before the end "
                f"of the block, get() them, or call close() and join()",
                RuntimeWarning,
                stacklevel=2,
            )

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(
                f"unclosed running multiprocessing pool {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        state = "CLOSE" if self._closed else "RUN"
        return f"<haz.multiprocessing.Pool state={state} pool_size={self._processes}>"


def _terminate(group: WorkerGroup) -> None:
    group.terminate(ValueError("the pool was terminated before this result was there"))
    group.join()


def _chunk_size(value: int | None) -> int | None:
    if value is None:
        return None
    if check_int("chunksize", value, -(2**31)) < 1:
        raise ValueError(f"Chunksize must be 1+, not {value}")
    return value


def _shared(calls: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Store what is large and among the arguments of several of these calls once.

    By identity, which is right here: between the calls of one map nothing can change it.
    """
    found: dict[int, list[Any]] = {}
    for args in calls:
        for value in args:
            size = len(value) if type(value) is bytes else getattr(value, "nbytes", 0)
            if type(size) is int and size >= _LEAST_SHARED_BYTES:
                found.setdefault(id(value), []).append(value)
    repeated = {key: Shared(put(same[0])) for key, same in found.items() if len(same) > 1}
    if not repeated:
        return calls
    return [tuple(repeated.get(id(value), value) for value in args) for args in calls]
