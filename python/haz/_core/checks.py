"""The errors for wrong arguments of get and wait, worded once for every engine.

Engines check the elements of a list themselves, in their own fast loop; these functions make the
error. `check_waitables` does the whole check for an engine without a faster way.
"""

from __future__ import annotations

import sys

from haz._core.refs import ObjectRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = [
    "actor_hint",
    "check_detached",
    "check_timeout",
    "check_waitables",
    "duplicate_ref",
    "force_on_actor_call",
    "is_for_ray",
    "no_get_of",
    "no_graphs",
    "not_a_ref",
    "not_a_ref_to_wait",
    "shown",
]


#: An error message is for people: it shows no more of a value than this.
_SHOWN_CHARACTERS = 200


def shown(value: object) -> str:
    """Return the ``repr`` of what a user gave, for an error message: short, and without fail."""
    try:
        text = repr(value)
    except Exception:
        text = "<its repr() failed>"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def not_a_ref(value: object) -> TypeError:
    """The error of ``haz.get([value])``."""
    hint = actor_hint(value)
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], ObjectRef):
        hint = "; get nested lists one by one: [haz.get(refs) for refs in lists]"
    elif _is_generator(value):
        hint = "; a generator gives refs one by one: [haz.get(ref) for ref in generator]"
    return TypeError(
        f"haz.get() takes an ObjectRef or a list of them, and {shown(value)} "
        f"({type(value).__name__}) is not an ObjectRef{hint}"
    )


def _is_generator(value: object) -> bool:
    from haz._core.generator import DynamicObjectRefGenerator, ObjectRefGenerator

    return isinstance(value, (ObjectRefGenerator, DynamicObjectRefGenerator))


def no_get_of(value: object) -> TypeError:
    """The error of ``haz.get(value)``."""
    hint = ""
    if _is_generator(value):
        hint = (
            "; a generator gives refs one by one: [haz.get(ref) for ref in generator], or "
            "haz.get(generator.completed()) to wait for its end"
        )
    elif hasattr(value, "__iter__"):
        hint = "; make a list of it first"
    return TypeError(
        f"haz.get() takes an ObjectRef or a list of them, not {type(value).__name__}{hint}{actor_hint(value)}"
    )


def not_a_ref_to_wait(value: object) -> TypeError:
    """The error of ``haz.wait([value])``."""
    return TypeError(
        f"haz.wait() takes a list of ObjectRefs and generators of refs, and {shown(value)} "
        f"({type(value).__name__}) is not an ObjectRef{actor_hint(value)}"
    )


def actor_hint(value: object) -> str:
    """What a user may have meant who gave an actor, or a method of one; else nothing."""
    if type(value).__module__ != "haz._core.actor":
        return ""
    return "; calls of an actor give refs: handle.method.remote(...)"


def is_for_ray() -> bool:
    """Whether the program is written for Ray, and runs by `haz.as_ray`."""
    as_ray = sys.modules.get("haz.as_ray")
    return as_ray is not None and bool(as_ray.is_installed())


def check_detached() -> None:
    """Refuse ``lifetime="detached"`` where the node ends with the program.

    So does the cluster that Ray starts for a program: one that is written for it knows.
    """
    if is_for_ray():
        return
    raise ValueError(
        "lifetime='detached' needs a node that outlives this program: start one by `haz start`, and "
        "join it by haz.init(address='auto')"
    )


def force_on_actor_call() -> ValueError:
    """The error of ``haz.cancel(ref, force=True)`` for the ref of an actor's call."""
    return ValueError(
        "haz.cancel(force=True) would kill the whole actor: leave force out to cancel the call, or "
        "use haz.kill(handle) to end the actor"
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


def no_graphs(name: str) -> NotImplementedError:
    """The error of Ray's ``bind``."""
    return NotImplementedError(
        f"{name}.bind() would make a node of one of Ray's graphs of calls, which haz has not got: "
        f"call {name}.remote(...), and pass the refs on as arguments"
    )


def check_timeout(timeout: Any) -> float:
    """Check a timeout that is not None; return it as a float."""
    if isinstance(timeout, bool) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be seconds or None, not {shown(timeout)}")
    try:
        seconds = float(timeout)
    except OverflowError:
        seconds = float("inf") if timeout > 0 else -1.0
    if not seconds >= 0:
        raise ValueError(f"timeout must be 0 or more seconds, or None, not {shown(timeout)}")
    return seconds
