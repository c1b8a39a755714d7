"""Options of actors and of their methods: what they may be, checked where they are given."""

from __future__ import annotations

from haz._core.checks import shown
from haz._core.options import (
    CHECKS,
    MOST,
    PLACEMENT,
    RENAMED,
    WITHOUT_MEANING,
    add_placement,
    check_bool,
    check_int,
    check_namespace,
    check_str,
    check_text,
    ignore_option,
    retries,
    unknown_keyword,
    with_labels,
)
from haz.engines.base import ActorOptions, MethodOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

__all__ = [
    "check_actor_options",
    "check_lifetime",
    "check_method_options",
    "make_actor_options",
    "make_method_options",
]


def _actor_name(value: Any) -> str:
    name: str = CHECKS["name"](value)
    if not name:
        raise ValueError("the name of an actor can't be empty")
    return name


def check_lifetime(value: Any) -> str:
    """Check the lifetime of an actor or a placement group."""
    if value not in ("non_detached", "detached"):
        raise ValueError(f"lifetime must be None, 'non_detached' or 'detached', not {shown(value)}")
    return str(value)


def _max_concurrency(value: Any) -> int:
    return min(check_int("max_concurrency", value, 1), MOST)


def _concurrency_groups(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        raise TypeError(
            f"concurrency_groups must be a dictionary of names and numbers of calls that run at a "
            f"time, not {shown(value)}"
        )
    for name in value:
        if not isinstance(name, str) or not name:
            raise TypeError(f"the keys of concurrency_groups must be names, not {shown(name)}")
        check_text("the keys of concurrency_groups", name)
    return {
        name: min(check_int(f"concurrency_groups[{name!r}]", limit, 1), MOST)
        for name, limit in value.items()
    }


def _max_pending_calls(value: Any) -> int:
    number = check_int("max_pending_calls", value, -1, " (-1: no limit)")
    if number == 0:
        raise ValueError("max_pending_calls=0 would allow no call at all; -1 means no limit")
    return min(number, MOST)


#: Options of actors that reach the engine, with their checks. None means the default, as in Ray.
_ACTOR_CHECKS: dict[str, Callable[[Any], Any]] = {
    "num_cpus": CHECKS["num_cpus"],
    "num_gpus": CHECKS["num_gpus"],
    "memory": CHECKS["memory"],
    "resources": CHECKS["resources"],
    "name": _actor_name,
    "namespace": check_namespace,
    "get_if_exists": lambda value: check_bool("get_if_exists", value),
    "lifetime": check_lifetime,
    "max_restarts": lambda value: retries("max_restarts", value),
    "max_task_retries": lambda value: retries("max_task_retries", value),
    "max_concurrency": _max_concurrency,
    "concurrency_groups": _concurrency_groups,
    "max_pending_calls": _max_pending_calls,
    "allow_out_of_order_execution": lambda value: check_bool("allow_out_of_order_execution", value),
    "runtime_env": CHECKS["runtime_env"],
    "accelerator_type": CHECKS["accelerator_type"],
    "label_selector": CHECKS["label_selector"],
    "fallback_strategy": CHECKS["fallback_strategy"],
}

#: Options that actors don't have, and where what is meant belongs.
_NOT_OF_ACTORS = {
    "max_calls": "an actor keeps its process",
    "max_retries": "actors have max_restarts, and max_task_retries for calls",
    "num_returns": "give it to the method: @haz.method(num_returns=...)",
    "priority": "give it to the method: @haz.method(priority=...)",
    "retry_exceptions": "give it to the method: @haz.method(retry_exceptions=...)",
    "timeout_s": "give it to the method: @haz.method(timeout_s=...)",
    "concurrency_group": "give it to the method; the class has concurrency_groups",
}

_METHOD_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": CHECKS["name"],
    "num_returns": CHECKS["num_returns"],
    "max_task_retries": lambda value: retries("max_task_retries", value),
    "retry_exceptions": CHECKS["retry_exceptions"],
    "timeout_s": CHECKS["timeout_s"],
    "concurrency_group": lambda value: check_text("concurrency_group", value),
    "priority": CHECKS["priority"],
    "_generator_backpressure_num_objects": CHECKS["_generator_backpressure_num_objects"],
}

#: Options of methods that have no meaning here.
_METHODS_WITHOUT_MEANING: dict[str, Callable[[str, Any], object]] = {
    "enable_task_events": check_bool,
    "tensor_transport": check_str,
    "_metadata": WITHOUT_MEANING["_metadata"],
}

_NOT_OF_METHODS = {
    "max_retries": "methods have max_task_retries",
    "num_cpus": "give it to the class: an actor holds its resources, whatever it runs",
    "num_gpus": "give it to the class: an actor holds its resources, whatever it runs",
    "memory": "give it to the class: an actor holds its resources, whatever it runs",
    "resources": "give it to the class: an actor holds its resources, whatever it runs",
    "runtime_env": "give it to the class",
    "max_concurrency": "give it to the class, or make a concurrency group",
}


def check_actor_options(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check keywords of an actor class; return those that have a meaning, converted.

    Parameters
    ----------
    given
        Keywords as the user wrote them.
    where
        How error messages name the place: ``"@haz.remote"``.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        check = _ACTOR_CHECKS.get(name)
        if check is not None:
            if name == "runtime_env":
                checked.update(check(value))
            elif value is not None:
                checked[name] = check(value)
        elif name in WITHOUT_MEANING:
            ignore_option(name, value)
        elif name in _NOT_OF_ACTORS:
            raise TypeError(f"{where}: {name!r} is not an option of actors: {_NOT_OF_ACTORS[name]}")
        elif name not in PLACEMENT and name != "enable_tensor_transport":
            raise unknown_keyword(where, name, [*_ACTOR_CHECKS, *PLACEMENT, *WITHOUT_MEANING])
    add_placement(checked, given, where)
    return checked


def make_actor_options(checked: Mapping[str, Any], *, is_async: bool, where: str) -> ActorOptions:
    """Make the record from what `check_actor_options` returned, merged.

    Raises ValueError for options that contradict each other.
    """
    given = with_labels(checked)
    if given.get("get_if_exists") and "name" not in given:
        raise ValueError(f"{where}: get_if_exists=True needs a name")
    out_of_order = given.pop("allow_out_of_order_execution", None)
    runs_several = is_async or given.get("max_concurrency", 1) > 1
    if out_of_order is False and runs_several:
        kind = "with async methods" if is_async else "with max_concurrency above 1"
        raise ValueError(
            f"{where}: an actor {kind} may run calls out of order, and "
            f"allow_out_of_order_execution=False can't change that"
        )
    given["detached"] = given.pop("lifetime", None) == "detached"
    if "num_cpus" in given:
        given["num_cpus_to_place"] = given["num_cpus"]
    return ActorOptions(
        is_async=is_async,
        allow_out_of_order=runs_several if out_of_order is None else out_of_order,
        **given,
    )


def check_method_options(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check keywords of ``@haz.method`` or of a method's ``.options``; see `check_actor_options`."""
    checked: dict[str, Any] = {}
    for name, value in given.items():
        check = _METHOD_CHECKS.get(name)
        if check is not None:
            if value is not None:
                checked[RENAMED.get(name, name)] = check(value)
        elif name in _NOT_OF_METHODS:
            raise TypeError(
                f"{where}: {name!r} is not an option of methods: {_NOT_OF_METHODS[name]}"
            )
        elif name in _METHODS_WITHOUT_MEANING:
            if value is not None:
                _METHODS_WITHOUT_MEANING[name](name, value)
        else:
            raise unknown_keyword(where, name, [*_METHOD_CHECKS, *_METHODS_WITHOUT_MEANING])
    return checked


def make_method_options(
    checked: Mapping[str, Any], *, groups: Collection[str], where: str
) -> MethodOptions:
    """Make the record from what `check_method_options` returned, merged.

    Raises ValueError for a concurrency group that is none of `groups`, those of the actor.
    """
    group = checked.get("concurrency_group")
    if group is not None and group not in groups:
        known = ", ".join(map(repr, groups)) or "none"
        raise ValueError(
            f"{where}: the actor has no concurrency group {group!r} (it has {known}); name it in "
            f"@haz.remote(concurrency_groups={{...}})"
        )
    return MethodOptions(**checked)
