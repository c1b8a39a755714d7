"""The standard library's ``multiprocessing.popen_fork``, under this name too."""

import sys
from multiprocessing import popen_fork

sys.modules[__name__] = popen_fork
