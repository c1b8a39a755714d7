"""The standard library's ``multiprocessing.synchronize``, under this name too."""

import sys
from multiprocessing import synchronize

sys.modules[__name__] = synchronize
