"""Errors of calls as the standard library's pools raise them."""

from __future__ import annotations

from haz._faces.worker import NotAnError
from haz.exceptions import ActorDiedError, ActorUnavailableError, SerializationError, TaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["plain_error", "with_remote_traceback"]


def with_remote_traceback(error: BaseException, traceback: str, kind: Any) -> BaseException:
    """Return `error` with a cause that shows the traceback of the worker, of class `kind`."""
    error.__cause__ = kind(f'\n"""\n{traceback}"""')
    return error


def plain_error(error: Any) -> BaseException:
    """Return what ProcessPoolExecutor's futures raise: the user's own exception, or a broken pool.

    Parameters
    ----------
    error
        What haz raises, or a NotAnError.
    """
    from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback

    if type(error) is NotAnError:
        return with_remote_traceback(error.error, error.traceback, _RemoteTraceback)
    if isinstance(error, TaskError):
        cause = error.cause
        if cause is None or isinstance(cause, SerializationError):
            return error
        return with_remote_traceback(cause, error.traceback_str, _RemoteTraceback)
    if isinstance(error, (ActorDiedError, ActorUnavailableError)):
        broken = BrokenProcessPool(_reason_of_death(error))
        broken.__cause__ = error
        return broken
    assert isinstance(error, BaseException)
    return error


def _reason_of_death(error: ActorDiedError | ActorUnavailableError) -> str:
    if isinstance(error, ActorUnavailableError) or error.reason in ("exited", "killed"):
        return f"the worker of this call died; the executor goes on. {error}"
    if error.reason == "constructor":
        return f"the initializer failed, so that there are no workers: {error}"
    return f"workers die at their start again and again: {error}"
