"""What a function returned, taken apart into its `num_returns` results."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["split_returns"]


def split_returns(value: Any, num_returns: int) -> Sequence[Any]:
    """Return the results of a task, as many as `num_returns`.

    For an engine, in the worker. 1 result is the value itself; of 0 the value is dropped; more are
    the items of a sequence or of a generator. Raises ValueError or TypeError, an error of the
    task, where `value` doesn't have that many.
    """
    if num_returns == 1:
        return (value,)
    if num_returns == 0:
        return ()
    if isinstance(value, (list, tuple)):
        results: Sequence[Any] = value
    else:
        results = _take(value, num_returns + 1)
    if len(results) != num_returns:
        found = str(len(results)) if len(results) < num_returns or results is value else "more"
        raise ValueError(f"the task has num_returns={num_returns} and returned {found} values")
    return results


def _take(value: Any, most: int) -> list[Any]:
    """The first items of an iterable, which may be without end."""
    try:
        iterator = iter(value)
    except TypeError:
        raise TypeError(
            f"the task has num_returns={most - 1} and returned one value of type "
            f"{type(value).__name__}"
        ) from None
    items = []
    for item in iterator:
        items.append(item)
        if len(items) == most:
            break
    return items
