"""The standard library's ``multiprocessing.queues``, under this name too."""

import sys
from multiprocessing import queues

sys.modules[__name__] = queues
