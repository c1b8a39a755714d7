"""Options of remote functions: what they may be, checked where they are given.

Names and meaning are Ray's; new are ``timeout_s`` and ``priority``. Those of actors and their
methods are in `haz._core.actor_options`.
"""

from __future__ import annotations

from haz._core.checks import shown
from haz.engines.base import TaskOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

__all__ = [
    "CHECKS",
    "MOST",
    "PLACEMENT",
    "WITHOUT_MEANING",
    "add_placement",
    "check_amount",
    "check_bool",
    "check_memory",
    "check_num_gpus",
    "check_task_options",
    "ignore_option",
    "make_task_options",
    "near_matches",
    "retries",
    "runtime_env",
    "unknown_keyword",
    "with_labels",
]


def near_matches(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'a' or 'b'?"``, or nothing where nothing is near."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def unknown_keyword(where: str, name: str, known: Iterable[str]) -> TypeError:
    """The error for a keyword that `where` doesn't have."""
    known = sorted(known, key=lambda keyword: keyword.lstrip("_"))
    return TypeError(
        f"{where} has no argument {name!r}{near_matches(name, known)} (it has {', '.join(known)})"
    )


#: The core counts amounts in 64 bits, in units of 0.0001.
_MOST_AMOUNT = 9e14


def _number(name: str, value: Any, what: str = "a number") -> int | float:
    """Check a number: of Python's own types, or what has its own way to become one (numpy)."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be {what}, not {shown(value)} ({type(value).__name__})")
    if isinstance(value, (int, float)):
        return value
    return value.__index__() if hasattr(value, "__index__") else float(value)


def check_amount(name: str, value: Any) -> float:
    """Check a quantity of a resource: not negative, to four decimals, as in Ray."""
    value = _number(name, value)
    if not value >= 0 or value == float("inf"):
        raise ValueError(f"{name} must be 0 or more, not {shown(value)}")
    if value > _MOST_AMOUNT:
        from haz.exceptions import InfeasibleResourcesError

        # The same error as for what this node never has: a ValueError, too.
        raise InfeasibleResourcesError(
            f"{name} must be at most {_MOST_AMOUNT:.0e}, not {shown(value)}"
        )
    if round(value * 10000) != value * 10000 and abs(value * 10000 - round(value * 10000)) > 1e-6:
        raise ValueError(f"{name} can't be finer than 0.0001, and is {shown(value)}")
    return float(value)


def check_num_gpus(name: str, value: Any) -> float:
    """Check a number of GPUs: whole ones, or a part of one."""
    amount = check_amount(name, value)
    if amount > 1 and not amount.is_integer():
        raise ValueError(f"{name} must be a whole number, or less than 1, not {shown(value)}")
    return amount


def check_memory(name: str, value: Any) -> float:
    """Check a number of bytes."""
    amount = check_amount(name, value)
    if not amount.is_integer():
        raise ValueError(f"{name} must be a whole number of bytes, not {shown(value)}")
    return amount


def check_resources(name: str, value: Any) -> dict[str, float]:
    """Check a dictionary of custom resources."""
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a dictionary of names and amounts, not {shown(value)}")
    for key in value:
        if not isinstance(key, str) or not key:
            raise TypeError(f"the keys of {name} must be strings, not {shown(key)}")
        check_text(f"the keys of {name}", key)
        if key in ("CPU", "GPU"):
            raise ValueError(f"use num_{key.lower()}s=... instead of {shown(key)} in {name}")
        if key in ("memory", "object_store_memory"):
            raise ValueError(f"use {key}=... instead of {shown(key)} in {name}")
    return {key: check_amount(f"{name}[{shown(key)}]", amount) for key, amount in value.items()}


def check_bool(name: str, value: Any) -> bool:
    """Check a flag: True or False, or what is equal to one and of a kind that has no other meaning."""
    if value is True or value is False:
        return value
    is_flag = (type(value) is int and value in (0, 1)) or (
        type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_")
    )
    if not is_flag:
        raise TypeError(
            f"{name} must be True or False, not {shown(value)} ({type(value).__name__})"
        )
    return bool(value)


def check_int(name: str, value: Any, least: int, also: str = "") -> int:
    """Check an integer of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {shown(value)} ({type(value).__name__})")
    number: int = value.__index__()
    if number < least:
        raise ValueError(f"{name} must be {least} or more{also}, not {shown(number)}")
    return number


def check_str(name: str, value: Any) -> str:
    """Check a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, not {shown(value)} ({type(value).__name__})")
    return value


def check_text(name: str, value: Any) -> str:
    """Check a string that leaves Python: it must be possible as UTF-8."""
    text = check_str(name, value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{name} must be text, and {shown(text)} has half a character")
    return text


def check_namespace(value: Any) -> str:
    """Check a namespace of named actors."""
    namespace = check_text("namespace", value)
    if not namespace:
        raise ValueError("a namespace can't be empty; None means that of the caller")
    return namespace


def check_str_dict(name: str, value: Any) -> dict[str, str]:
    """Check a dictionary of strings to strings."""
    if not isinstance(value, dict) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in value.items()
    ):
        raise TypeError(f"{name} must be a dictionary of strings to strings, not {shown(value)}")
    return dict(value)


#: What the core has room for.
MOST = 2**31 - 1
_MOST_RETURNS = 10_000_000


def _num_returns(value: Any) -> int | str:
    if isinstance(value, str):
        if value in ("dynamic", "streaming"):
            return value
        raise ValueError(
            f'num_returns must be an integer, "streaming" or "dynamic", not {shown(value)}'
        )
    number = check_int("num_returns", value, 0)
    if number > _MOST_RETURNS:
        raise ValueError(
            f"num_returns must be at most {_MOST_RETURNS}, not {shown(number)}: a ref for each is "
            f"made at the call. A generator gives results without end"
        )
    return number


def _items_ahead(value: Any) -> int:
    name = "_generator_backpressure_num_objects"
    number = check_int(name, value, -1, " (-1: no limit)")
    if number == 0:
        raise ValueError(
            f"{name} can't be 0, which would never let the generator begin; -1: no limit"
        )
    return min(max(number, 0), MOST)


def retries(name: str, value: Any) -> int:
    """Check a number of retries; -1 is without end."""
    # sys.maxsize and its like are meant as "without end".
    return min(check_int(name, value, -1, " (-1: without end)"), MOST)


def _priority(value: Any) -> int:
    number = check_int("priority", value, -MOST)
    if number > MOST:
        raise ValueError(f"priority must be at most {MOST}, not {shown(number)}")
    return number


#: Longer than any program; without it a huge integer would not fit a float.
_LONGEST_S = 1e300


def _retry_exceptions(value: Any) -> bool | tuple[type[BaseException], ...]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"retry_exceptions must be True, False or a list of types, not {shown(value)}"
        )
    for kind in value:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise TypeError(f"retry_exceptions lists exception types, and {shown(kind)} is none")
    return tuple(value)


def _timeout_s(value: Any) -> float:
    value = _number("timeout_s", value, "a number of seconds")
    if not value > 0:
        raise ValueError(f"timeout_s must be more than 0 seconds, not {shown(value)}")
    return float(min(value, _LONGEST_S))


def runtime_env(value: Any) -> dict[str, Any]:
    """Check a ``runtime_env``; return the options ``env_vars`` and ``environment``."""
    from haz._core.environment import check_runtime_env

    return check_runtime_env(value)


def label_selector(value: Any) -> Any:
    """Check conditions on the labels of the node."""
    from haz._core.labels import check_selector

    return check_selector("label_selector", value)


def fallback_strategy(value: Any) -> Any:
    """Check what is tried where `label_selector` does not hold."""
    from haz._core.labels import check_fallbacks

    return check_fallbacks(value)


#: Options that reach the engine, with their checks. None means the default, as in Ray.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "num_cpus": lambda value: check_amount("num_cpus", value),
    "num_gpus": lambda value: check_num_gpus("num_gpus", value),
    "memory": lambda value: check_memory("memory", value),
    "resources": lambda value: check_resources("resources", value),
    "num_returns": _num_returns,
    "name": lambda value: check_text("name", value),
    "max_retries": lambda value: retries("max_retries", value),
    "retry_exceptions": _retry_exceptions,
    "timeout_s": _timeout_s,
    "max_calls": lambda value: check_int("max_calls", value, 0),
    "runtime_env": runtime_env,  # the only one that means several
    "priority": _priority,
    "label_selector": label_selector,
    "fallback_strategy": fallback_strategy,
    "accelerator_type": lambda value: check_text("accelerator_type", value),
    "_generator_backpressure_num_objects": _items_ahead,
}

#: Options that the engines know by another name.
RENAMED = {"_generator_backpressure_num_objects": "items_ahead"}


def _check_dict(name: str, value: Any) -> object:
    if not isinstance(value, dict):
        raise TypeError(f"{name} must be a dictionary, not {shown(value)}")
    return value


#: Options of Ray's that have no meaning on one machine, with their checks.
WITHOUT_MEANING: dict[str, Callable[[str, Any], object]] = {
    "enable_task_events": check_bool,
    "object_store_memory": check_memory,
    "_labels": check_str_dict,
    "_metadata": _check_dict,
}


#: Options that say where a task or actor runs: together they make the one called ``placement``.
PLACEMENT = (
    "placement_group",
    "placement_group_bundle_index",
    "placement_group_capture_child_tasks",
    "scheduling_strategy",
)


def add_placement(checked: dict[str, Any], given: Mapping[str, Any], where: str) -> None:
    """Check those of `PLACEMENT` among `given`, and put what they mean into `checked`."""
    if any(name in given for name in PLACEMENT):
        from haz._core.placement import check_placement

        checked["placement"] = check_placement(given, where)


def ignore_option(name: str, value: Any) -> None:
    """Check an option of `WITHOUT_MEANING`."""
    if value is not None:
        WITHOUT_MEANING[name](name, value)


#: Options that only actors have: a frequent mistake with its own words.
_ACTORS_ONLY = frozenset(
    (
        "allow_out_of_order_execution",
        "concurrency_groups",
        "get_if_exists",
        "lifetime",
        "max_concurrency",
        "max_pending_calls",
        "max_restarts",
        "max_task_retries",
        "namespace",
    )
)


def check_task_options(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check keywords of a remote function; return those that have a meaning, converted.

    Parameters
    ----------
    given
        Keywords as the user wrote them.
    where
        How error messages name the place: ``"@haz.remote"``.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        check = CHECKS.get(name)
        if check is not None:
            if name == "runtime_env":
                checked.update(check(value))
            elif value is not None:
                checked[RENAMED.get(name, name)] = check(value)
        elif name in WITHOUT_MEANING:
            ignore_option(name, value)
        elif name in _ACTORS_ONLY:
            raise TypeError(f"{where}: {name!r} is an option of actors, and this is a function")
        elif name not in PLACEMENT:
            raise unknown_keyword(where, name, [*CHECKS, *PLACEMENT, *WITHOUT_MEANING])
    add_placement(checked, given, where)
    return checked


#: How much of a node's resource ``accelerator_type:...`` a task takes: as good as nothing.
_OF_ACCELERATOR = 0.001


def with_labels(checked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked options with what they say of labels as part of their ``placement``, and
    the type of accelerator as one of their ``resources``."""
    given = dict(checked)
    accelerator = given.pop("accelerator_type", None)
    if accelerator is not None:
        kind = {f"accelerator_type:{accelerator}": _OF_ACCELERATOR}
        given["resources"] = {**given.get("resources", {}), **kind}
    selector = given.pop("label_selector", None)
    fallbacks = given.pop("fallback_strategy", [])
    if selector:
        from haz._core.labels import Labelled

        given["placement"] = Labelled(given.get("placement"), selector, fallbacks)
    return given


def make_task_options(checked: Mapping[str, Any]) -> TaskOptions:
    """Make the record from what `check_task_options` returned, merged."""
    if any(name in checked for name in ("label_selector", "fallback_strategy", "accelerator_type")):
        checked = with_labels(checked)
    return TaskOptions(**checked)
