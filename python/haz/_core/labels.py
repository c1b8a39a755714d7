"""Ray's ``label_selector``: conditions on the labels of a node, as texts.

Loaded when the first is given. On one machine they say whether a task can run at all.
"""

from __future__ import annotations

import re

from haz._core.checks import shown
from haz.exceptions import InfeasibleResourcesError
from haz.util.scheduling_strategies import In, NotIn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from haz.engines.base import Engine

    Selector: TypeAlias = dict[str, In | NotIn]

__all__ = ["Labelled", "check_fallbacks", "check_selector", "require"]

#: A label that each node has, in haz as in Ray.
_NODE_ID = "ray.io/node-id"

_VALUE = r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
_ONE = re.compile(_VALUE)
_SEVERAL = re.compile(rf"in\(\s*({_VALUE}(\s*,\s*{_VALUE})*)\s*\)")


def _condition(name: str, label: str, text: str) -> In | NotIn:
    kind: type[In | NotIn] = NotIn if text.startswith("!") else In
    wanted = text.removeprefix("!")
    several = _SEVERAL.fullmatch(wanted)
    if several is not None:
        return kind(*(value.strip() for value in several.group(1).split(",")))
    if _ONE.fullmatch(wanted) is None:
        raise ValueError(
            f"{name}[{shown(label)}] must be 'value', '!value', 'in(one,two)' or '!in(one,two)', "
            f"where values are of letters, digits, '_', '-' and '.', not {shown(text)}"
        )
    return kind(wanted)


def check_selector(name: str, value: Any) -> Selector:
    """Check a dictionary of labels and conditions; return the conditions as objects."""
    from haz._core.options import check_str_dict

    conditions = check_str_dict(name, value)
    if "" in conditions:
        raise ValueError(f"the keys of {name} are names of labels, and one is empty")
    return {label: _condition(name, label, text) for label, text in conditions.items()}


def check_fallbacks(value: Any) -> list[Selector]:
    """Check a ``fallback_strategy``; return the conditions of each."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"fallback_strategy must be a list of dictionaries, not {shown(value)}")
    selectors = []
    for place, options in enumerate(value):
        if not isinstance(options, dict) or set(options) != {"label_selector"}:
            raise ValueError(
                f"fallback_strategy[{place}] must be {{'label_selector': {{...}}}}, not "
                f"{shown(options)}"
            )
        where = f"fallback_strategy[{place}]['label_selector']"
        selectors.append(check_selector(where, options["label_selector"]))
    return selectors


def require(engine: Engine, selector: Selector, fallbacks: list[Selector], who: str) -> None:
    """Raise InfeasibleResourcesError if the node meets neither `selector` nor a fallback."""
    context = engine.context()
    labels = {_NODE_ID: context["node_id"], **(context.get("labels") or {})}
    unmet = []
    for conditions in (selector, *fallbacks):
        missed = [
            f"{label!r} is {condition!r}"
            for label, condition in conditions.items()
            if not condition._holds(labels.get(label))
        ]
        if not missed:
            return
        unmet.append(" and ".join(missed))
    raise InfeasibleResourcesError(
        f"{who} is to run on a node where label {', or else where '.join(unmet)}; the only node "
        f"has the labels {labels!r}: see haz.init(labels=...)"
    )


class Labelled:
    """A scheduling strategy, None for none, on a node with such labels."""

    def __init__(self, strategy: Any, selector: Selector, fallbacks: list[Selector]) -> None:
        self.strategy = strategy
        self.selector = selector
        self.fallbacks = fallbacks

    def __repr__(self) -> str:
        return f"Labelled({self.strategy!r}, {self.selector!r}, {self.fallbacks!r})"
