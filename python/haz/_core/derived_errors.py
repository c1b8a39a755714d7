"""Errors of haz about something that user code has raised: instances of that type, too."""

from __future__ import annotations

from haz._core.errors import derive_class, dump_exception, load_exception, new_like
from haz.exceptions import TaskError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from haz.exceptions import HazError

    Error = TypeVar("Error", bound=HazError)
    #: What `dump_exception` returns, of the cause; None: there is none.
    Dumped = tuple[bytes | None, list[Any]] | None

__all__ = ["make_error", "rebuild_error", "reduce_error"]

#: Types that would end the generator or the event loop of whoever gets the error, or tell a tale.
_NEVER_DERIVED = (StopIteration, StopAsyncIteration, TaskError)


def make_error(base: type[Error], text: str, cause: BaseException | None) -> Error:
    """Return a `base` with that text and cause, an instance of the cause's type where it can be."""
    made: Error | None = None
    if isinstance(cause, Exception) and not isinstance(cause, (base, *_NEVER_DERIVED)):
        kind = type(cause)
        try:
            derived = base if issubclass(base, kind) else derive_class(base, kind)
            made = new_like(derived, cause, (text,))
        except Exception:  # the type permits no other, or needs other arguments
            pass
    made = made or base(text)
    made.__cause__ = cause
    return made


def reduce_error(error: HazError, base: type[HazError]) -> tuple[Any, ...]:
    """What pickle makes of an `error` that `make_error` has made: its cause as far as can be."""
    cause = None if error.__cause__ is None else dump_exception(error.__cause__)
    return rebuild_error, (base, str(error), cause), dict(error.__dict__)


def rebuild_error(base: type[Error], text: str, cause: Dumped) -> Error:
    """Put together what `reduce_error` has taken apart."""
    loaded = None
    if cause is not None and cause[0] is not None:
        try:
            loaded = load_exception(cause[0], cause[1])
        except Exception:  # the text names it
            pass
    return make_error(base, text, loaded)
