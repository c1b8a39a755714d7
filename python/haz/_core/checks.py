"""The errors for wrong arguments of get and wait, worded once for every engine.

Engines check the elements of a list themselves, in their own fast loop; these functions make the
error. `check_waitables` does the whole check for an engine without a faster way.
"""

from __future__ import annotations

from haz._core.refs import ObjectRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["check_waitables", "duplicate_ref", "not_a_ref", "not_a_ref_to_wait"]


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        text = "<its repr() failed>"
    return text if len(text) <= 80 else text[:77] + "..."


def not_a_ref(value: object) -> TypeError:
    """The error of ``haz.get([value])``."""
    hint = ""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], ObjectRef):
        hint = "; get nested lists one by one: [haz.get(refs) for refs in lists]"
    return TypeError(
        f"haz.get() takes an ObjectRef or a list of them, and {_shown(value)} "
        f"({type(value).__name__}) is not an ObjectRef{hint}"
    )


def not_a_ref_to_wait(value: object) -> TypeError:
    """The error of ``haz.wait([value])``."""
    return TypeError(
        f"haz.wait() takes a list of ObjectRefs, and {_shown(value)} ({type(value).__name__}) "
        f"is not an ObjectRef"
    )


def duplicate_ref(ref: ObjectRef[Any]) -> ValueError:
    """The error of ``haz.wait([ref, ref])``."""
    return ValueError(f"haz.wait() takes each ref once, and {ref!r} is in the list twice")


def check_waitables(refs: Sequence[object]) -> None:
    """Raise unless `refs` are ObjectRefs, each once."""
    seen: set[object] = set()
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise not_a_ref_to_wait(ref)
        if ref in seen:
            raise duplicate_ref(ref)
        seen.add(ref)
