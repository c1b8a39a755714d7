"""A library of C++ whose functions do nothing, called from Python."""

from __future__ import annotations

import os
import subprocess
from typing import Any

_SOURCE = """
#include <haz/haz.h>

void noop() {}
HAZ_REMOTE(noop);
"""


def noop(folder: str) -> Any:
    """Build the library in ``folder``; return its remote function."""
    import haz

    source, library = os.path.join(folder, "noop.cpp"), os.path.join(folder, "libnoop.so")
    with open(source, "w", encoding="utf-8") as file:
        file.write(_SOURCE)
    flags = ["-std=c++20", "-O2", "-shared", "-fPIC", f"-I{haz.get_include()}"]
    subprocess.run([os.environ.get("CXX", "c++"), *flags, source, "-o", library], check=True)
    return haz.cpp_function(library, "noop")
