"""What the tests of engines share: which engines there are, and a quiet numpy."""

from __future__ import annotations

import importlib.util


def _native_is_built() -> bool:
    return (
        importlib.util.find_spec("haz._native") is not None
        and importlib.util.find_spec("haz.engines.native") is not None
    )


#: Engines that the contract suite runs on.
ENGINES = ["inline", "native"] if _native_is_built() else ["inline"]
HAS_NATIVE = "native" in ENGINES


def native_has_actors():
    """Whether the native engine that is built runs actors."""
    if not HAS_NATIVE:
        return False
    from haz.engines.native import NativeEngine

    return hasattr(NativeEngine, "create_actor")


def no_threads_of_blas():
    """Keep numpy from starting threads, for a fixture: it stops them at a fork and starts later."""
    try:
        import numpy  # noqa: F401
        import threadpoolctl
    except ImportError:
        yield
        return
    with threadpoolctl.threadpool_limits(1):
        yield
