"""What is raised where a value can't be unpickled: what the value was, and whose."""

from __future__ import annotations

import os

from haz._core.errors import dump_exception, load_exception, new_like
from haz.exceptions import DeserializationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz._core.refs import ObjectRef

__all__ = ["deserialization_error", "rebuild", "reduce_error"]

#: Types that would end the generator or the event loop of whoever calls get().
_NEVER_DERIVED = (StopIteration, StopAsyncIteration)

_WHAT_TO_DO = (
    "Its class must be importable in this process, from the same modules in the same versions, and "
    "what its __reduce__ or __setstate__ does must work here; or pass plain data instead"
)


def deserialization_error(
    error: Exception, ref: ObjectRef[Any] | None, argument: int | str | None, task_name: str
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
    raised = f"{type(error).__name__}: {_text_of(error)}".rstrip(": ")
    text = f"{what} can't be unpickled in process {os.getpid()}: {raised}\n{_WHAT_TO_DO}"
    object_id = ref.hex() if ref is not None and (made_by or argument is None) else None
    made = _make(error, text)
    made.object_id = object_id
    made.task_name = task_name or made_by
    return made


def _make(cause: BaseException | None, text: str) -> DeserializationError:
    made: DeserializationError | None = None
    if cause is not None and not isinstance(cause, _NEVER_DERIVED):
        try:
            made = new_like(_class_for(type(cause)), cause, (text,))
        except Exception:  # the type permits no other, or needs other arguments
            pass
    made = made or DeserializationError(text)
    made.__cause__ = cause
    return made


def _class_for(kind: type[BaseException]) -> type[DeserializationError]:
    if issubclass(DeserializationError, kind):
        return DeserializationError
    import types

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(
            __module__="haz.exceptions",
            __doc__=DeserializationError.__doc__,
            __init__=lambda self, *args: None,
            __str__=DeserializationError.__str__,
            __reduce__=DeserializationError.__reduce__,
            __reduce_ex__=lambda self, _protocol: DeserializationError.__reduce__(self),
        )

    name = f"DeserializationError({kind.__name__})"
    derived: type[DeserializationError] = types.new_class(
        name, (DeserializationError, kind), exec_body=fill
    )
    return derived


def reduce_error(error: DeserializationError) -> tuple[Any, ...]:
    """What pickle makes of one: its cause as far as that can be pickled."""
    cause = None if error.__cause__ is None else dump_exception(error.__cause__)
    return rebuild, (cause, str(error)), dict(error.__dict__)


def rebuild(cause: tuple[bytes | None, list[Any]] | None, text: str) -> DeserializationError:
    """Put together what `reduce_error` has taken apart."""
    loaded = None
    if cause is not None and cause[0] is not None:
        try:
            loaded = load_exception(cause[0], cause[1])
        except Exception:  # the text names it
            pass
    return _make(loaded, text)


def _maker_of(ref: ObjectRef[Any]) -> str:
    """Name of the task that has made the value; empty: a put, or nobody remembers."""
    try:
        from haz.util.state import get_task

        task = get_task(ref)
        return "" if task is None else str(task["name"])
    except Exception:
        return ""


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return ""
