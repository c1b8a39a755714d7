"""The standard library's ``multiprocessing.dummy``, under this name too."""

import sys
from multiprocessing import dummy

sys.modules[__name__] = dummy
