"""What runs in the workers of a `WorkerGroup`."""

from __future__ import annotations

import marshal
import sys
from time import perf_counter

from haz import _native
from haz._core import serialize
from haz._core.after_import import AfterImport
from haz._core.api import get
from haz._core.descriptors import open_descriptor
from haz._core.process_state import show_plain_output
from haz._core.refs import ObjectRef
from haz._core.runtime import runtime
from haz._faces.functions import function_of
from haz._faces.private import PLAIN, writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "GroupWorker",
    "RaisedInCall",
    "Shared",
    "map_chunk",
    "map_shared_chunk",
    "map_until_error",
    "starmap_chunk",
]


class RaisedInCall:
    """Holds what a function raised and a worker returns, so that it goes on."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: BaseException, traceback: str) -> None:
        self.error = error
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return RaisedInCall, (self.error, self.traceback)


class GroupWorker:
    """One process of a group: an actor, whose calls are those of users' functions."""

    def __init__(
        self,
        number: int,
        initializer: tuple[Any] | None,
        args: tuple[Any, ...],
    ) -> None:
        if runtime.is_worker:
            serialize.share_main_globals()
            show_plain_output()
            _be_numbered(number)
        self._pages: _native.CallPages | None = None
        if initializer is not None:
            _function(initializer[0])(*args)

    def call(self, code: Any, args: Any, kwargs: dict[str, Any] | None) -> Any:
        """Call the function with the arguments."""
        function = function_of(code)
        for value in args:
            if type(value) not in PLAIN:
                args = writable(args)
                break
        if kwargs is not None:
            kwargs = writable(kwargs)
        try:
            return function(*args) if kwargs is None else function(*args, **kwargs)
        except Exception:
            raise
        except BaseException as error:
            return _held(error)

    def open_pages(self, sent: tuple[int, int, int, int]) -> None:
        """Share the pages of batches with the group; without them it gets no calls of batches."""
        self._pages = _open_pages(sent)

    def call_each(
        self, number: int, codes: Any, args: list[Any], kwargs: list[Any] | None
    ) -> tuple[list[Any], float]:
        """Run calls of a batch up to its end, or one whose result has no place in the pages.

        Returns the results, and the seconds that they took.
        """
        results: list[Any] = []
        pages = self._pages
        if pages is None:
            return results, 0.0
        begin = perf_counter()
        pages.open(number, len(args))
        claim, record, call, dumps = pages.claim, pages.record, self.call, marshal.dumps
        same = type(codes) is bytes
        place = 0
        while claim():
            value = call(
                codes if same else codes[place],
                args[place],
                None if kwargs is None else kwargs[place],
            )
            results.append(value)
            place += 1
            if type(value) not in PLAIN or not record(dumps(value)):
                break
        return results, perf_counter() - begin


def _open_pages(sent: tuple[int, int, int, int]) -> _native.CallPages | None:
    import os

    try:
        file = open_descriptor(sent, os.O_RDWR)
    except OSError:
        return None
    try:
        pages: _native.CallPages = _native.CallPages.attach(file)
        return pages
    except (ValueError, RuntimeError):
        return None
    finally:
        os.close(file)


def _be_numbered(number: int) -> None:
    """Let ``multiprocessing`` tell the processes of a group apart, and that they are not the main one."""

    def change(process: Any) -> None:
        import os

        process._current_process._identity = (number,)
        process._current_process.name = f"PoolWorker-{number}"
        parent = os.getppid()
        try:
            sentinel = os.pidfd_open(parent)
        except OSError:
            return
        process._parent_process = process._ParentProcess("MainProcess", parent, sentinel)

    name = "multiprocessing.process"
    if name in sys.modules:
        change(sys.modules[name])
    else:
        sys.meta_path.insert(0, AfterImport(name, change))


def _held(error: BaseException) -> RaisedInCall:
    import os

    from haz._core.errors import pack_exception

    info = pack_exception(error, task_name="", pid=os.getpid(), function="")
    if info["pickled"] is None:
        error = SystemExit(str(error)) if isinstance(error, SystemExit) else Exception(repr(error))
    return RaisedInCall(error.with_traceback(None), info["traceback"])


# ---- functions of pools, for several items ------------------------------------------------------


class Shared:
    """Stands for a large argument that several calls have: it lies in the store once."""

    __slots__ = ("ref",)

    def __init__(self, ref: Any) -> None:
        self.ref = ref

    def __reduce__(self) -> tuple[Any, ...]:
        return Shared, (self.ref,)


def _function(code: Any) -> Any:
    return function_of(get(code) if isinstance(code, ObjectRef) else code)


def _own(value: Any) -> Any:
    return writable(get(value.ref)) if type(value) is Shared else value


def map_chunk(code: Any, chunk: Sequence[Any]) -> tuple[list[Any], bool]:
    """Return what the function makes of each item, and whether there can be arrays in that."""
    return list(map(_function(code), chunk)), "numpy" in sys.modules


def map_shared_chunk(code: Any, chunk: list[Any]) -> tuple[list[Any], bool]:
    """As `map_chunk`; some items are `Shared`."""
    return map_chunk(code, [_own(item) for item in chunk])


def starmap_chunk(code: Any, chunk: list[Any]) -> tuple[list[Any], bool]:
    """Return what the function makes of each tuple of arguments, and as `map_chunk`."""
    function = _function(code)
    return [function(*map(_own, args)) for args in chunk], "numpy" in sys.modules


def map_until_error(code: Any, chunk: list[Any]) -> tuple[list[Any], RaisedInCall | None]:
    """Return what the function makes of the items, up to one where it raises; and what it raises."""
    function = _function(code)
    results: list[Any] = []
    for item in chunk:
        try:
            results.append(function(item))
        except Exception as error:
            if not results:
                raise
            return results, _held(error)
    return results, None
