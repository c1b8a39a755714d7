"""The standard library's ``multiprocessing.forkserver``, under this name too."""

import sys
from multiprocessing import forkserver

sys.modules[__name__] = forkserver
