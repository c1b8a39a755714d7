"""Notebooks: what a cell has redefined takes effect in later calls of remote functions that use it.

A function of ``__main__`` is copied with what it uses: helper functions, classes, settings. In a
notebook these are redefined while the node goes on. So each cell looks once, at the first call of a
remote function, whether the copy would be another one now. Imported only where IPython runs.
"""

from __future__ import annotations

import hashlib
import sys

from haz._core.refs import ObjectRef
from haz._core.serialize import dumps_in_band

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["digest_of", "watch_cells"]


def watch_cells(on_cell: Callable[..., None]) -> bool:
    """Call `on_cell` before each later cell; return whether this process is that of a notebook."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_shell is None else get_shell()
    if shell is None:
        return False
    shell.events.register("pre_run_cell", on_cell)
    return True


def digest_of(function: Any) -> bytes | None:
    """Return what tells copies of a function or class apart; None where it can't be copied."""
    try:
        copy, refs = dumps_in_band(function, lambda _: NotImplemented, ObjectRef)
    except Exception:
        return None
    digest = hashlib.sha256(copy)
    for ref in refs:
        digest.update(ref.hex().encode())
    return digest.digest()
