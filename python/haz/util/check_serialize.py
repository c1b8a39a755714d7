"""``haz.util.inspect_serializability``: what of a value can't be pickled, and where it is."""

from __future__ import annotations

from haz._core import serialize
from haz._core.unpicklable import bad_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["FailureTuple", "inspect_serializability"]


class FailureTuple:
    """A part of a value that can't be pickled.

    Attributes
    ----------
    obj
        The part.
    name
        What it is of `parent`, in words.
    parent
        What it is a part of.
    """

    def __init__(self, obj: Any, name: str, parent: Any) -> None:
        self.obj = obj
        self.name = name
        self.parent = parent

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [obj={self.obj!r}, parent={self.parent!r}])"


def inspect_serializability(
    base_obj: Any, name: str | None = None, depth: int = 3, print_file: Any = None
) -> tuple[bool, set[FailureTuple]]:
    """Find and print what keeps a value from being pickled.

    Parameters
    ----------
    base_obj
        The value: a function, a class, an object.
    name
        What to call it. Default: its own name.
    depth
        How many levels of parts to look into.
    print_file
        Where to print to. Default: the standard output.

    Returns
    -------
    bool
        Whether it can be pickled.
    set of FailureTuple
        The innermost parts that can't be.
    """
    shown = name or getattr(base_obj, "__qualname__", None) or repr(base_obj)
    print(f"Checking whether {shown} can be pickled", file=print_file)
    try:
        serialize.try_dumps(base_obj)
    except Exception as error:
        print(f"It can't: {error}", file=print_file)
    else:
        print("It can", file=print_file)
        return True, set()
    return False, set(_failures(FailureTuple(base_obj, shown, None), depth, print_file))


def _failures(whole: FailureTuple, depth: int, print_file: Any) -> list[FailureTuple]:
    """The innermost parts of `whole` that can't be pickled; each is printed with the way to it."""
    seen: set[int] = set()
    found: list[FailureTuple] = []

    def look_into(part: FailureTuple, level: int) -> None:
        seen.add(id(part.obj))
        parts = list(bad_parts(part.obj, seen)) if level <= depth else []
        for name, obj in parts:
            print(f"{'  ' * level}{name or part.name}: {type(obj).__name__}", file=print_file)
            look_into(FailureTuple(obj, name or part.name, part.obj), level + 1)
        if not parts:
            found.append(part)

    look_into(whole, 1)
    return found
