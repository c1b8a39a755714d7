"""What groups of workers do when the program comes to its end, while threads still run."""

from __future__ import annotations

import atexit
import threading
from weakref import WeakKeyDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["at_exit"]

_groups: WeakKeyDictionary[Any, Callable[[Any], object]] = WeakKeyDictionary()
_registered = False


def at_exit(group: Any, function: Callable[[Any], object]) -> None:
    """Call ``function(group)`` at the end of the program, if `group` still exists then."""
    global _registered
    if not _registered:
        _registered = True
        # As concurrent.futures does: atexit's functions run after threads can't be started any more.
        register = getattr(threading, "_register_atexit", atexit.register)
        register(_run)
    _groups[group] = function


def _run() -> None:
    for group, function in list(_groups.items()):
        function(group)
