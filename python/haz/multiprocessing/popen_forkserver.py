"""The standard library's ``multiprocessing.popen_forkserver``, under this name too."""

import sys
from multiprocessing import popen_forkserver

sys.modules[__name__] = popen_forkserver
