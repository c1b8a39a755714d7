"""The standard library's ``multiprocessing.process``, under this name too."""

import sys
from multiprocessing import process

sys.modules[__name__] = process
