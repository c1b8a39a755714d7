"""Errors of calls as the standard library's pools raise them."""

from __future__ import annotations

from haz._faces.worker import RaisedInCall
from haz.exceptions import ActorDiedError, ActorUnavailableError, SerializationError, TaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["plain_error", "pool_error"]


def _with_remote_traceback(error: BaseException, traceback: str, kind: Any) -> BaseException:
    """Return `error` with a cause that shows the traceback of the worker, of class `kind`."""
    error.__cause__ = kind(f'\n"""\n{traceback}"""')
    return error


def plain_error(error: Any) -> BaseException:
    """Return what ProcessPoolExecutor's futures raise: the user's own exception, or a broken pool.

    Parameters
    ----------
    error
        What haz raises, or a RaisedInCall.
    """
    from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback

    if type(error) is RaisedInCall:
        return _with_remote_traceback(error.error, error.traceback, _RemoteTraceback)
    if isinstance(error, TaskError):
        cause = error.cause
        if cause is None or isinstance(cause, SerializationError):
            return error
        return _with_remote_traceback(cause, error.traceback_str, _RemoteTraceback)
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


def pool_error(error: Any) -> BaseException:
    """Return what a result of ``multiprocessing.Pool`` raises.

    Parameters
    ----------
    error
        What haz raises, or a RaisedInCall.
    """
    from multiprocessing.pool import (  # type: ignore[attr-defined]
        MaybeEncodingError,
        RemoteTraceback,
    )

    if type(error) is RaisedInCall:
        raised = error.error
        if isinstance(raised, Exception):
            return _with_remote_traceback(raised, error.traceback, RemoteTraceback)
        # In the standard pool it ends the process, and the result never comes.
        ended = ActorDiedError(f"the call ended its process: {raised!r}", reason="exited")
        ended.__cause__ = raised
        return ended
    if isinstance(error, TaskError):
        cause = error.cause
        if isinstance(cause, SerializationError):
            unsendable: BaseException = MaybeEncodingError(cause, "the result of the call")
            return unsendable
        if cause is None:
            return error
        return _with_remote_traceback(cause, error.traceback_str, RemoteTraceback)
    if isinstance(error, ActorUnavailableError):
        return ActorDiedError(
            class_name="of the pool",
            reason="signal" if error.signal else "exit_code",
            pid=error.pid,
            signal=error.signal,
            exit_code=error.exit_code,
            stderr=error.stderr,
        )
    assert isinstance(error, BaseException)
    return error
