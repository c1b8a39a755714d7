"""``haz.map``: a function over iterables, in batches, as a stream."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from time import perf_counter

from haz._core.api import cancel, cluster_resources, get, wait
from haz._core.options import check_int
from haz._core.remote import RemoteFunction, remote
from haz._faces.functions import code_of, function_of
from haz._faces.progress import check_progress, show_progress, total_of
from haz.exceptions import HazError, SerializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Literal, TypeVar

    from haz._core.refs import ObjectRef
    from haz._faces.progress import Shown

    T = TypeVar("T")

__all__ = ["map"]

#: Run time of a batch that is aimed at, and the most items and growth of one.
_BATCH_S = 0.01
_MOST_ITEMS = 1000
_GROWTH = 4
#: Batches under way for each CPU.
_AHEAD = 3


def _run_batch(
    code: Any, batch: list[tuple[Any, ...]], name: str, is_final: bool
) -> tuple[list[Any], dict[int, Any], float]:
    """Call the function for each item; return the results, errors by place, and the seconds.

    With `is_final` the first error is the last item.
    """
    function = function_of(code)
    results: list[Any] = []
    errors: dict[int, Any] = {}
    begin = perf_counter()
    for place, args in enumerate(batch):
        try:
            results.append(function(*args))
        except Exception as error:
            from haz._core.errors import pack_exception

            errors[place] = pack_exception(error, task_name=name, pid=os.getpid(), function=name)
            results.append(None)
            if is_final:
                break
    return results, errors, perf_counter() - begin


class _Batch:
    __slots__ = ("error", "items", "ref")

    def __init__(self, items: list[tuple[Any, ...]]) -> None:
        self.items = items
        self.ref: ObjectRef[Any] | None = None
        #: Why it could not be submitted.
        self.error: Exception | None = None


class _Map:
    """What is under way of one ``map``."""

    def __init__(
        self,
        function: Callable[..., Any],
        items: Iterator[tuple[Any, ...]],
        *,
        ordered: bool,
        batch_size: int | None,
        on_error: str,
        options: dict[str, Any],
        name: str,
    ) -> None:
        self._code = code_of(function)
        self._items = items
        self._ordered = ordered
        self._fixed_size = batch_size
        self._size = batch_size or 1
        self._on_error = on_error
        self._name = name
        self._run = remote(**{"name": name, **options})(_run_batch)
        cpus = float(options.get("num_cpus", 1)) or 1.0
        slots = max(int(cluster_resources().get("CPU", 1) / cpus), 1)
        self._most = max(_AHEAD * slots, 4)
        self._batches: deque[_Batch] = deque()
        self._is_read = False
        #: What the iterables have raised.
        self._read_error: Exception | None = None

    def fill(self) -> None:
        """Submit batches up to the number that may be under way."""
        while not self._is_read and len(self._batches) < self._most:
            batch = self._read_batch()
            if batch:
                self._batches.append(self._submit(batch))

    def _read_batch(self) -> list[tuple[Any, ...]]:
        batch: list[tuple[Any, ...]] = []
        try:
            for item in islice(self._items, self._size):
                batch.append(item)
        except Exception as error:
            self._read_error = error
        if len(batch) < self._size:
            self._is_read = True
        return batch

    def _submit(self, items: list[tuple[Any, ...]]) -> _Batch:
        batch = _Batch(items)
        try:
            batch.ref = self._run.remote(self._code, items, self._name, self._on_error == "raise")
        except SerializationError as error:
            batch.error = error
        return batch

    def outcomes(self) -> Iterator[tuple[Any, BaseException | None]]:
        """Yield (value, None) or (None, error) of each item."""
        while self._batches:
            batch = self._next_batch()
            yield from self._outcomes_of(batch)
            del batch
            self.fill()
        if self._read_error is not None:
            raise self._read_error

    def _next_batch(self) -> _Batch:
        if self._ordered:
            return self._batches.popleft()
        batch = next((one for one in self._batches if one.ref is None), None)
        if batch is None:
            ready, _ = wait([one.ref for one in self._batches if one.ref is not None])
            batch = next(one for one in self._batches if one.ref == ready[0])
        self._batches.remove(batch)
        return batch

    def _outcomes_of(self, batch: _Batch) -> Iterator[tuple[Any, BaseException | None]]:
        try:
            if batch.ref is None:
                assert batch.error is not None
                raise batch.error
            results, errors, seconds = get(batch.ref)
        except HazError as error:
            # Of the batch as a whole: its worker died, or an item or a result can't be pickled.
            if len(batch.items) == 1:
                yield None, error
            else:
                yield from self._one_by_one(batch)
            return
        self._adapt(len(results), seconds)
        for place, value in enumerate(results):
            packed = errors.get(place)
            if packed is None:
                yield value, None
            else:
                yield None, _unpacked(packed)

    def _one_by_one(self, batch: _Batch) -> Iterator[tuple[Any, BaseException | None]]:
        for item in batch.items:
            yield from self._outcomes_of(self._submit([item]))

    def _adapt(self, count: int, seconds: float) -> None:
        if self._fixed_size is None and count:
            wanted = int(_BATCH_S / max(seconds / count, 1e-7))
            self._size = max(1, min(wanted, self._size * _GROWTH, _MOST_ITEMS))

    def cancel(self) -> None:
        """Give up what is under way."""
        for batch in self._batches:
            try:
                if batch.ref is not None:
                    cancel(batch.ref)
            except HazError:
                pass  # haz was shut down
        self._batches.clear()


def _unpacked(packed: dict[str, Any]) -> BaseException:
    from haz._core.errors import unpack_error, without_stop_iteration

    return without_stop_iteration(unpack_error(packed))


def map(
    function: Callable[..., T] | RemoteFunction[..., Any],
    *iterables: Iterable[Any],
    ordered: bool = True,
    batch_size: int | None = None,
    timeout_s: float | None = None,
    on_error: Literal["raise", "return", "skip"] = "raise",
    progress: bool | str | Callable[[int, int | None, int], object] = False,
    **options: Any,
) -> Iterator[Any]:
    """Call a function with the items of iterables, in tasks; return an iterator over the results.

    Parameters
    ----------
    function
        Any function, or a remote one. It gets one item of each iterable.
    *iterables
        Read as results are taken, some batches ahead: they may be endless.
    ordered
        Results in the order of the items. False: as they come.
    batch_size
        Items of one task. Default: so many that a task takes about 10 ms, as measured.
    timeout_s
        Seconds that one item may take: then TaskTimeoutError is its error. Each item is a task then.
    on_error
        What becomes of an item whose call fails. "raise": its error is raised in its place, and the
        rest is cancelled. "return": the error is yielded in its place. "skip": it is left out.
    progress
        True: show a bar, with rate, remaining time and failures, on a terminal or in a notebook (with
        rich, if that is installed). A string: its text. A function: called with the number of items
        whose results were yielded, the total or None, and the number of failures.
    **options
        Of the tasks, as ``@haz.remote`` takes them: ``num_cpus=2``, ``max_retries=0`` ...

    Raises
    ------
    TaskError
        Where the function raised, and `on_error` is "raise": an instance of the exception's own type
        too.
    WorkerCrashedError
        Likewise, where an item's process died. Other items of its batch are not affected.

    Examples
    --------
    >>> list(haz.map(pow, range(4), range(4)))
    [1, 1, 4, 27]
    """
    if isinstance(function, RemoteFunction):
        options = {**function._checked, **options}
        function = function._function
    if not callable(function):
        raise TypeError(f"haz.map takes a function, not {function!r}")
    if not iterables:
        raise TypeError("haz.map needs an iterable: haz.map(function, items)")
    if on_error not in ("raise", "return", "skip"):
        raise ValueError(f'on_error must be "raise", "return" or "skip", not {on_error!r}')
    if batch_size is not None:
        check_int("batch_size", batch_size, 1)
    for name in ("num_returns", "_generator_backpressure_num_objects"):
        if name in options:
            raise TypeError(f"haz.map takes no {name}: each item has one result")
    if timeout_s is not None:
        if batch_size not in (None, 1):
            raise ValueError("timeout_s is for one item: batch_size can't be more than 1 with it")
        options["timeout_s"], batch_size = timeout_s, 1
    shown_name = str(options.pop("name", None) or getattr(function, "__name__", "map"))
    check_progress(progress)
    under_way = _Map(
        function,
        zip(*iterables, strict=False),
        ordered=ordered,
        batch_size=batch_size,
        on_error=on_error,
        options=options,
        name=shown_name,
    )
    under_way.fill()
    total = total_of(iterables) if progress else None
    return _results(under_way, on_error, lambda: show_progress(progress, shown_name, total))


def _results(under_way: _Map, on_error: str, show: Callable[[], Shown | None]) -> Iterator[Any]:
    done = failed = 0
    shown = show()
    try:
        for value, error in under_way.outcomes():
            done += 1
            failed += error is not None
            if shown is not None:
                shown.update(done, failed)
            if error is None:
                yield value
            elif on_error == "raise":
                raise error
            elif on_error == "return":
                yield error
    finally:
        under_way.cancel()
        if shown is not None:
            shown.close()
