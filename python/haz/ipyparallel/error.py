"""Exceptions of the ipyparallel face: what engines raise, and what stops a call.

An exception raised on an engine reaches the client as a `RemoteError`, which keeps its type's name,
its message and its traceback as text; those of several engines come together in a
`CompositeError`. Names and meaning are ipyparallel's.
"""

from __future__ import annotations

import builtins
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn

__all__ = [
    "AlreadyDisplayedError",
    "CompositeError",
    "DependencyTimeout",
    "EngineCreationError",
    "EngineError",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "NoEnginesRegistered",
    "RemoteError",
    "TaskAborted",
    "TaskRejectError",
    "TaskTimeout",
    "TimeoutError",
    "UnmetDependency",
    "collect_exceptions",
    "unwrap_exception",
    "wrap_exception",
]

TimeoutError = builtins.TimeoutError


class IPythonError(Exception):
    """Base of the errors of this face."""


class KernelError(IPythonError):
    """Base of the errors that name what went wrong on engines."""


class EngineError(KernelError):
    """An engine died, or can't be reached."""


class EngineCreationError(EngineError):
    """An engine could not be started."""


class NoEnginesRegistered(KernelError):
    """There is no engine to send a call to."""


class TaskAborted(KernelError):
    """The call was aborted before an engine began it."""


class TaskTimeout(KernelError):
    """No engine could begin the call within its timeout."""


class TaskRejectError(KernelError):
    """An engine refused the call."""


class UnmetDependency(KernelError):
    """The engine lacks what the call depends on."""


class ImpossibleDependency(UnmetDependency):
    """No engine can ever meet what the call depends on."""


class DependencyTimeout(ImpossibleDependency):
    """What the call depends on was not met within its timeout."""


class InvalidDependency(ImpossibleDependency):
    """The call depends on a call that never was."""


class RemoteError(KernelError):
    """An exception that was raised on an engine.

    Attributes
    ----------
    ename, evalue : str
        The name of its type, and its message.
    traceback : str
        Its traceback there, as text.
    engine_info : dict
        Which engine and call it was: engine_id, engine_uuid, method.
    """

    def __init__(
        self,
        ename: str,
        evalue: str,
        traceback: str | Sequence[str] | None,
        engine_info: dict[str, Any] | None = None,
    ) -> None:
        self.ename = ename
        self.evalue = evalue
        if traceback is not None and not isinstance(traceback, str):
            traceback = "\n".join(traceback)
        self.traceback = traceback
        self.engine_info = engine_info or {}
        self.args = (ename, evalue)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteError, (self.ename, self.evalue, self.traceback, self.engine_info)

    def __repr__(self) -> str:
        engine = self.engine_info.get("engine_id", "")
        at = f"[{engine}]" if engine != "" else ""
        return f"<{type(self).__name__}{at}:{self.ename}({self.evalue})>"

    def __str__(self) -> str:
        return " ".join([*self._at(), f"{self.ename}: {self.evalue}"])

    def _at(self) -> list[str]:
        """The engine and the call, as ``[0:apply]``; nothing where no engine is known."""
        engine = self.engine_info.get("engine_id")
        return [] if engine is None else [f"[{engine}:{self.engine_info.get('method', 'apply')}]"]

    def __iter__(self) -> Iterator[Any]:
        """Its parts: ename, evalue, traceback, engine_info."""
        return iter((self.ename, self.evalue, self.traceback, self.engine_info))

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def render_traceback(self) -> list[str]:
        """The traceback on the engine, as lines."""
        if self.traceback is None:
            return [str(self)]
        return [*self._at(), *self.traceback.splitlines()]

    #: IPython shows an exception by this, where it is there.
    def _render_traceback_(self) -> list[str]:
        return self.render_traceback()

    def print_traceback(self, excid: object = None) -> None:
        """Print the traceback on the engine."""
        print("\n".join(self.render_traceback()))

    def raise_exception(self, excid: object = None) -> NoReturn:
        """Raise it."""
        raise self


class CompositeError(RemoteError):
    """Exceptions of several engines, of one call.

    Attributes
    ----------
    elist : list of RemoteError
    tb_limit : int
        The most tracebacks that are shown.
    """

    tb_limit = 4

    def __init__(self, message: str, elist: Sequence[RemoteError]) -> None:
        super().__init__("CompositeError", message, None)
        self.msg = message
        self.elist = list(elist)
        self.args = (message, self.elist)

    def __reduce__(self) -> tuple[Any, ...]:
        return CompositeError, (self.msg, self.elist)

    def _heads(self) -> list[str]:
        shown = self.elist[: self.tb_limit]
        lines = [str(error) for error in shown]
        more = len(self.elist) - len(shown)
        if more:
            lines.append(f"... {more} more exceptions ...")
        return lines

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.elist)})"

    def __str__(self) -> str:
        return "\n".join([self.msg, *self._heads()])

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """The tracebacks on the engines, as lines; of one of them with `excid`."""
        if excid is not None:
            return self._lines_of(self._one(excid))
        lines: list[str] = []
        for error in self.elist[: self.tb_limit]:
            lines += [*self._lines_of(error), ""]
        more = len(self.elist) - self.tb_limit
        if more > 0:
            lines.append(f"... {more} more exceptions ...")
        return lines

    @staticmethod
    def _lines_of(error: RemoteError) -> list[str]:
        heads = [f"{at}:" for at in error._at()]
        return [*heads, *(error.traceback or str(error)).splitlines()]

    def print_traceback(self, excid: Any = None) -> None:
        """Print the tracebacks on the engines, or that of one."""
        print("\n".join(self.render_traceback(excid)))

    def raise_exception(self, excid: Any = 0) -> NoReturn:
        """Raise one of them: the first, unless told another."""
        raise self._one(excid)

    def _one(self, excid: int) -> RemoteError:
        try:
            return self.elist[excid]
        except IndexError:
            raise IndexError(
                f"there are {len(self.elist)} exceptions, and no number {excid}"
            ) from None


class AlreadyDisplayedError(RemoteError):
    """An error whose traceback was shown already, as ``%px`` does."""

    def __init__(self, original_error: RemoteError) -> None:
        super().__init__(original_error.ename, original_error.evalue, original_error.traceback)
        self.original_error = original_error

    def __reduce__(self) -> tuple[Any, ...]:
        return AlreadyDisplayedError, (self.original_error,)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.original_error!r}>"

    def __str__(self) -> str:
        return str(self.original_error)

    def render_traceback(self) -> list[str]:
        errors = getattr(self.original_error, "elist", [self.original_error])
        return [f"{len(errors)} errors" if len(errors) > 1 else str(self.original_error)]


def wrap_exception(engine_info: dict[str, Any] | None = None) -> dict[str, Any]:
    """The exception that is being handled, as a dict that any process can read."""
    import traceback

    kind, value, trace = sys.exc_info()
    assert kind is not None
    return {
        "status": "error",
        "ename": kind.__name__,
        "evalue": str(value),
        "traceback": traceback.format_exception(kind, value, trace),
        "engine_info": engine_info or {},
    }


def unwrap_exception(content: dict[str, Any]) -> RemoteError:
    """The RemoteError of what `wrap_exception` returned."""
    return RemoteError(
        content["ename"],
        content["evalue"],
        "".join(content.get("traceback") or []),
        content.get("engine_info") or {},
    )


def collect_exceptions(
    results: dict[Any, Any] | Sequence[Any], method: str = "unspecified"
) -> dict[Any, Any] | Sequence[Any]:
    """Return `results`, or raise the exceptions among them together.

    Raises
    ------
    CompositeError
        If some are exceptions.
    """
    values = list(results.values()) if isinstance(results, dict) else list(results)
    elist: list[RemoteError] = []
    for value in values:
        if isinstance(value, CompositeError):
            elist += value.elist
        elif isinstance(value, RemoteError):
            elist.append(value)
        elif isinstance(value, Exception):
            elist.append(RemoteError(type(value).__name__, str(value), None))
    if not elist:
        return results
    message = f"one or more exceptions raised in: {method}"
    raise CompositeError(message, elist)
