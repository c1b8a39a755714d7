"""Which engines there are to test: the native one only where it has been built."""

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
