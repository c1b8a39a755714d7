"""The main program's globals in a worker whose functions share them, as those of one process do.

Functions that are pickled one by one bring copies of the globals that they use. A task's function has
those for itself. In a pool's worker they are the same names for all: what an initializer assigns with
``global`` is there for the calls. A value that comes again keeps what the worker has made of it; one
that the program has changed since replaces that.
"""

from __future__ import annotations

from types import FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MainGlobals"]

#: A larger array is not compared, and taken for changed.
_MOST_COMPARED_BYTES = 64 * 1024


class MainGlobals:
    """Names of the main program that functions share."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}
        #: What has come last, in a form that is equal for equal values.
        self._seen: dict[str, Any] = {}

    def begin(self, base: dict[str, Any]) -> dict[str, Any]:
        """Return the globals of a function that is being made, which begin with `base`."""
        for name, value in base.items():
            self._names.setdefault(name, value)
        return self._names

    def own(self, names: dict[str, Any]) -> bool:
        """Whether these are the globals of functions that share them."""
        return names is self._names

    def update(self, values: dict[str, Any]) -> None:
        """Take the globals that a function has brought."""
        for name, value in values.items():
            seen = _form_of(value)
            if name not in self._names or self._seen.get(name) != seen:
                self._names[name] = value
            self._seen[name] = seen


def _form_of(value: Any) -> Any:
    if isinstance(value, FunctionType):
        return value.__code__
    if isinstance(value, (type, ModuleType)):
        return value
    size = getattr(value, "nbytes", 0)
    if type(size) is int and size <= _MOST_COMPARED_BYTES:
        from haz._core.serialize import try_dumps

        try:
            data, buffers = try_dumps(value)
            return data, [bytes(buffer) for buffer in buffers]
        except Exception:
            pass
    return object()  # is equal to nothing
