"""The standard library's ``multiprocessing.heap``, under this name too."""

import sys
from multiprocessing import heap

sys.modules[__name__] = heap
