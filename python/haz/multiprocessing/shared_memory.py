"""The standard library's ``multiprocessing.shared_memory``, under this name too."""

import sys
from multiprocessing import shared_memory

sys.modules[__name__] = shared_memory
