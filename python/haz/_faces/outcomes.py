"""Errors of calls as the standard library's pools raise them."""

from __future__ import annotations

import re
from concurrent.futures import BrokenExecutor

from haz._faces.worker import RaisedInCall
from haz.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    DeserializationError,
    SerializationError,
    TaskError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["in_callers_words", "plain_error", "pool_error"]


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
    if isinstance(error, BrokenExecutor):
        return error
    try:
        from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
    except RuntimeError:  # the program is ending, and it was not imported before
        return error.error if type(error) is RaisedInCall else error
    if type(error) is RaisedInCall:
        return _with_remote_traceback(error.error, error.traceback, _RemoteTraceback)
    if isinstance(error, TaskError):
        cause = error.cause
        if cause is None:
            return error
        return _with_remote_traceback(cause, error.traceback_str, _RemoteTraceback)
    if isinstance(error, (ActorDiedError, ActorUnavailableError)):
        broken = BrokenProcessPool(_reason_of_death(error))
        broken.__cause__ = error
        return broken
    assert isinstance(error, BaseException)
    return in_callers_words(error)


def _reason_of_death(error: ActorDiedError | ActorUnavailableError) -> str:
    if isinstance(error, ActorUnavailableError) or error.reason in ("exited", "killed"):
        return f"the process of this call died, and the executor goes on: {_death(error)}"
    if error.reason == "constructor":
        return f"{_failed_initializer(error)}, so that there are no workers"
    return f"workers die at their start again and again: {error}"


def _death(error: ActorDiedError | ActorUnavailableError) -> str:
    """How a process died, without the names of what it ran for the face."""
    if isinstance(error, ActorDiedError):
        return str(error)
    return str(_pool_death(error, "of the executor")).partition(" died: ")[2]


def _pool_death(error: ActorUnavailableError, name: str) -> ActorDiedError:
    return ActorDiedError(
        class_name=name,
        reason="signal" if error.signal else "exit_code",
        pid=error.pid,
        signal=error.signal,
        exit_code=error.exit_code,
        stderr=error.stderr,
    )


def _failed_initializer(error: ActorDiedError) -> str:
    raised: Any = error.__cause__
    raised = getattr(raised, "cause", None) or raised
    return f"the initializer failed: {type(raised).__name__}: {raised}"


_SENT = re.compile(r"argument 2 of GroupWorker\.\w+: item (\d+) of a (?:tuple|list)")
_RESULT = re.compile(r"ObjectRef\(\w+\), a result of task GroupWorker\.\w+,")
_SENT_BY_NAME = re.compile(r"argument 3 of GroupWorker\.\w+: item ('.*?') of a dict")


def in_callers_words(error: BaseException, is_chunk: bool = False) -> BaseException:
    """Return an error of sending a call, or its result, in the words of who made it.

    With `is_chunk` it is one for several items of a map.
    """
    if isinstance(error, DeserializationError) and not isinstance(error, TaskError):
        what = "a result of the map" if is_chunk else "the result of the call"
        return _of_user(DeserializationError, _RESULT.sub(what, str(error)), error)
    if not isinstance(error, SerializationError) or isinstance(error, TaskError):
        return error
    if is_chunk:
        text = _SENT.sub("the items of the map", str(error))
    else:
        text = _SENT.sub(lambda found: f"argument {int(found[1]) + 1} of the call", str(error))
        text = _SENT_BY_NAME.sub(r"argument \1 of the call", text)
    return _of_user(SerializationError, text, error)


def _of_user(kind: Any, text: str, error: BaseException) -> BaseException:
    from haz._core.derived_errors import make_error

    made: BaseException = make_error(kind, text, error.__cause__)
    return made


def _as_of_pool(error: BaseException, traceback: str) -> BaseException:
    from multiprocessing.pool import RemoteTraceback  # type: ignore[attr-defined]

    return _with_remote_traceback(error, traceback, RemoteTraceback)


def pool_error(error: Any, is_chunk: bool = False) -> BaseException:
    """Return what a result of ``multiprocessing.Pool`` raises.

    Parameters
    ----------
    error
        What haz raises, or a RaisedInCall.
    is_chunk
        Whether the call was one for several items.
    """
    if type(error) is RaisedInCall:
        raised = error.error
        if isinstance(raised, Exception):
            return _as_of_pool(raised, error.traceback)
        # In the standard pool it ends the process, and the result never comes.
        ended = ActorDiedError(f"the call ended its process: {raised!r}", reason="exited")
        ended.__cause__ = raised
        return ended
    if isinstance(error, TaskError):
        cause = error.cause
        if isinstance(cause, SerializationError):
            from multiprocessing.pool import MaybeEncodingError  # type: ignore[attr-defined]

            unsendable: BaseException = MaybeEncodingError(cause, "the result of the call")
            return unsendable
        if cause is None:
            return error
        return _as_of_pool(cause, error.traceback_str)
    if isinstance(error, ActorUnavailableError):
        return _pool_death(error, "of the pool")
    if isinstance(error, ActorDiedError) and error.reason == "constructor":
        failed = ActorDiedError(_failed_initializer(error), reason="constructor")
        failed.__cause__ = error.__cause__
        return failed
    assert isinstance(error, BaseException)
    return in_callers_words(error, is_chunk)
