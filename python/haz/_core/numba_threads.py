"""Numba's threads in workers: as many as the task has CPUs, as for OpenMP (`haz._core.threads`).

Numba launches its threads when a parallel function is first compiled, and then each call uses all that
are not masked. The mask can't be set before, nor by the environment, so this waits for the launch.
"""

from __future__ import annotations

import os
import sys

from haz._core.after_import import AfterImport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["numba_finder", "set_numba_threads"]

_MODULE = "numba.np.ufunc.parallel"


def set_numba_threads(threads: int) -> None:
    """Mask Numba's threads, if they are there: so many are used, or all if there are fewer."""
    module: Any = sys.modules.get(_MODULE)
    if module is not None and module._is_initialized:
        module.set_num_threads(min(threads, module.get_thread_count()))


def numba_finder() -> AfterImport:
    """Return a finder for ``sys.meta_path``: has the threads masked as soon as Numba launches them."""
    return AfterImport(_MODULE, _mask_at_launch)


def _mask_at_launch(module: Any) -> None:
    launch = module._launch_threads

    def launch_and_mask() -> None:
        is_first = not module._is_initialized
        launch()
        if is_first:
            first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
            if first.isdigit() and int(first) > 0:
                set_numba_threads(int(first))

    module._launch_threads = launch_and_mask
