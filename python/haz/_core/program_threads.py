"""The program's other threads: what the core asks of a driver that waits for room in the store."""

from __future__ import annotations

import sys
from _thread import get_ident

__all__ = ["others_go_on"]


def others_go_on() -> bool:
    """Whether there are other threads of the program, which may drop references.

    Daemons, which libraries have for their own ends, do not count.
    """
    threading = sys.modules.get("threading")
    if threading is None:
        return False
    own = get_ident()
    return any(thread.ident != own and not thread.daemon for thread in threading.enumerate())
