"""The standard library's ``multiprocessing.spawn``, under this name too."""

import sys
from multiprocessing import spawn

sys.modules[__name__] = spawn
