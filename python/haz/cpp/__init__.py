"""C++ functions over NumPy arrays, compiled where they are used.

>>> import haz.cpp
>>> kernels = haz.cpp.compile('''
... double dot(haz::array<const double> x, haz::array<const double> y) {
...   haz::check_same_shape(x, y);
...   return haz::parallel_reduce(x.size(), 0.0, [&](auto i) { return x[i] * y[i]; });
... }
... ''')
>>> kernels.dot(numpy.ones(1000), numpy.ones(1000))
1000.0

In a notebook: ``%load_ext haz.cpp``, then cells that begin with ``%%haz_cpp``.
"""

from haz._core.include import get_include as get_include
from haz.cpp._cache import cache_folder as cache_folder
from haz.cpp._cache import clear_cache as clear_cache
from haz.cpp._errors import CompileError as CompileError
from haz.cpp._errors import CompilerNotFoundError as CompilerNotFoundError
from haz.cpp._module import KernelModule as KernelModule
from haz.cpp._module import compile as compile
from haz.cpp._threads import max_threads as max_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "CompileError",
    "CompilerNotFoundError",
    "KernelModule",
    "cache_folder",
    "clear_cache",
    "compile",
    "get_include",
    "max_threads",
]


def load_ipython_extension(shell: "Any") -> None:
    """Add the magic ``%%haz_cpp``; IPython calls this for ``%load_ext haz.cpp``."""
    from haz.cpp._magic import register

    register(shell)
