"""What groups of workers do when the program comes to its end, while threads still run."""

from __future__ import annotations

import atexit
import os
import threading
from weakref import WeakKeyDictionary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["at_exit"]

_groups: WeakKeyDictionary[Any, Callable[[Any], object]] = WeakKeyDictionary()
_registered = False
_pid = 0


def at_exit(group: Any, function: Callable[[Any], object]) -> None:
    """Call ``function(group)`` at the end of the program, if `group` still exists then."""
    global _registered, _pid
    _pid = os.getpid()
    if not _registered:
        _registered = True
        # As concurrent.futures does: atexit's functions run after threads can't be started any more.
        register = getattr(threading, "_register_atexit", atexit.register)
        register(_run)
    _groups[group] = function


def _run() -> None:
    if os.getpid() != _pid:
        return  # a forked child, where a lock of a group may be held for ever
    for group, function in list(_groups.items()):
        function(group)
