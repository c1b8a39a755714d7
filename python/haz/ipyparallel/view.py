"""Views: what runs on which engines. `DirectView` names them, `LoadBalancedView` lets haz choose."""

from __future__ import annotations

from haz.ipyparallel._balanced_view import LazyMapIterator, LoadBalancedView
from haz.ipyparallel._direct_view import BroadcastView, DirectView
from haz.ipyparallel._executor import ViewExecutor
from haz.ipyparallel._view import View

__all__ = [
    "BroadcastView",
    "DirectView",
    "LazyMapIterator",
    "LoadBalancedView",
    "View",
    "ViewExecutor",
]
