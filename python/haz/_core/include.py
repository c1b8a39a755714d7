"""Where haz's C++ headers lie, and what CMake needs to find them."""

from __future__ import annotations

import os

__all__ = ["get_cmake_dir", "get_include"]


def get_include() -> str:
    """Return the folder of haz's C++ headers, for the ``-I`` of compilers."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    shipped = os.path.join(package, "include")
    if os.path.isdir(shipped):
        return shipped
    return os.path.join(os.path.dirname(os.path.dirname(package)), "include")  # in a checkout


def get_cmake_dir() -> str:
    """Return the folder for CMake's ``haz_DIR``: ``cmake -Dhaz_DIR=$(python -c ...)``.

    Raises
    ------
    RuntimeError
        In a checkout, which is not installed: install it somewhere with
        ``cmake --install build/... --component cpp --prefix ...``.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = os.path.join(package, "lib", "cmake", "haz")
    if os.path.isdir(folder):
        return folder
    raise RuntimeError(
        "this haz runs from a checkout, where its C++ library is not installed; for an installed one: "
        "pip install . , or cmake --install build/cp311 --component cpp --prefix somewhere"
    )
