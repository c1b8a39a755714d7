"""What runs in the workers of a `WorkerGroup`."""

from __future__ import annotations

from haz._faces.functions import function_of
from haz._faces.private import PLAIN, writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["GroupWorker", "NotAnError"]


class NotAnError:
    """Holds what a function raised that is not an ``Exception``, and must not end the worker."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: BaseException, traceback: str) -> None:
        self.error = error
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return NotAnError, (self.error, self.traceback)


class GroupWorker:
    """One process of a group: an actor, whose calls are those of users' functions."""

    def __init__(self, initializer: Callable[..., object] | None, args: tuple[Any, ...]) -> None:
        if initializer is not None:
            initializer(*args)

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


def _held(error: BaseException) -> NotAnError:
    import os

    from haz._core.errors import pack_exception

    info = pack_exception(error, task_name="", pid=os.getpid(), function="")
    if info["pickled"] is None:
        error = (
            SystemExit(*error.args[:1]) if isinstance(error, SystemExit) else KeyboardInterrupt()
        )
    return NotAnError(error.with_traceback(None), info["traceback"])
