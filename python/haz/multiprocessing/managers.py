"""The standard library's ``multiprocessing.managers``, under this name too."""

import sys
from multiprocessing import managers

sys.modules[__name__] = managers
