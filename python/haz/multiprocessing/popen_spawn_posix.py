"""The standard library's ``multiprocessing.popen_spawn_posix``, under this name too."""

import sys
from multiprocessing import popen_spawn_posix

sys.modules[__name__] = popen_spawn_posix
