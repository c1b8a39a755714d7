"""The standard library's ``multiprocessing.util``, under this name too."""

import sys
from multiprocessing import util

sys.modules[__name__] = util
