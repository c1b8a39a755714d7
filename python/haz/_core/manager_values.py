"""Values of managers of ``multiprocessing`` in pickles: with the key, which another process lacks."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["is_manager_value", "reduce_manager_value"]


def is_manager_value(cls: type) -> bool:
    """Whether objects of `cls` stand for what a manager has."""
    managers = sys.modules.get("multiprocessing.managers")
    base = getattr(managers, "BaseProxy", None)  # not there yet while it is being imported
    return base is not None and issubclass(cls, base)


def reduce_manager_value(_pickler: object, value: Any) -> Any:
    """Reduce as the standard library does, and send its key along, and that of the program."""
    from multiprocessing.process import current_process

    make, (function, token, serializer, keywords) = value.__reduce__()
    keywords = {**keywords, "authkey": bytes(value._authkey)}
    return _make, (bytes(current_process().authkey), make, function, token, serializer, keywords)


def _make(key: bytes, make: Callable[..., object], *args: object) -> object:
    from haz._core.runtime import runtime

    if runtime.is_worker:
        # What the value holds may be values of managers too, which the manager sends without a key.
        from multiprocessing.process import current_process

        current_process().authkey = key
    return make(*args)
