"""What is raised where a value can't be unpickled: what the value was, and whose."""

from __future__ import annotations

import os

from haz._core.derived_errors import make_error
from haz.exceptions import DeserializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz._core.refs import ObjectRef

__all__ = ["deserialization_error", "function_error"]

_WHAT_TO_DO = (
    "Its class must be importable in this process, from the same modules in the same versions, and "
    "what its __reduce__ or __setstate__ does must work here; or pass plain data instead"
)

_WHAT_TO_DO_ABOUT_FUNCTIONS = (
    "Its module must be importable in workers, and the global and closure variables that it uses "
    "must come out of a pickle again; make what can't in the function itself"
)


def deserialization_error(
    error: BaseException, ref: ObjectRef[Any] | None, argument: int | str | None, task_name: str
) -> Exception:
    """Make of `error`, which unpickling has raised, one that says what could not be unpickled.

    Parameters
    ----------
    error
        Becomes the cause.
    ref
        That of the value; None where it was a part of the call itself.
    argument
        Place (from 0) or keyword of the argument that it is; None: a value that ``get`` has fetched.
    task_name
        Of the task whose argument it is.

    Returns
    -------
    Exception
        A DeserializationError, which is also an instance of `error`'s type if that can be; `error`
        itself if it is such already, of a value within this one.
    """
    if isinstance(error, (DeserializationError, MemoryError)):
        return error
    made_by = "" if ref is None else _maker_of(ref)
    what = "" if ref is None else repr(ref)
    if made_by:
        what += f", a result of task {made_by},"
    if argument is not None:
        place = repr(argument) if isinstance(argument, str) else str(argument + 1)
        # A great value that was given as such is an object of haz's own: its ref says nothing.
        what = f"argument {place} of {task_name}" + (f" ({what.rstrip(',')})" if made_by else "")
    made = _error_about(what, error, _WHAT_TO_DO)
    made.object_id = ref.hex() if ref is not None and (made_by or argument is None) else None
    made.task_name = task_name or made_by
    return made


def function_error(error: Exception, task_name: str) -> Exception:
    """The same where the function of a task, or the class of an actor, can't be unpickled."""
    if isinstance(error, (DeserializationError, MemoryError)):
        return error
    made = _error_about(f"what {task_name} runs", error, _WHAT_TO_DO_ABOUT_FUNCTIONS)
    made.object_id = None
    made.task_name = task_name
    return made


def _error_about(what: str, error: BaseException, to_do: str) -> DeserializationError:
    raised = f"{type(error).__name__}: {_text_of(error)}".rstrip(": ")
    text = f"{what} can't be unpickled in process {os.getpid()}: {raised}\n{to_do}"
    return make_error(DeserializationError, text, error)


def _maker_of(ref: ObjectRef[Any]) -> str:
    """Name of the task that has made the value; empty: a put, or nobody remembers."""
    try:
        from haz.util.state import get_task

        task = get_task(ref)
        return "" if task is None else str(task["name"])
    except Exception:
        return ""


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""
