"""Data that a running call publishes to its client: ``ar.data`` there."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["publish_data"]


def publish_data(data: dict[str, Any]) -> None:
    """Publish values by names; the client sees them as ``AsyncResult.data``, while the call runs, too.

    Raises
    ------
    RuntimeError
        In a process that is no engine.
    TypeError
        If it is no dict.
    """
    from haz.ipyparallel._engine import publish

    if not isinstance(data, dict):
        raise TypeError(f"publish_data takes a dict, and not {type(data).__name__}")
    publish(data)
