"""Writes over all the memory of haz that the calling process can write."""

from __future__ import annotations

import ctypes
from random import Random

#: What `scribble` can write: random bytes all over, ones, zeros, or some random words.
WAYS = ("all", "ones", "zeros", "some")

_PIECE = 65536


def writable() -> list[tuple[int, int]]:
    """Address and size of each part of the arena that this process can write."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            fields = line.split()
            if "w" in fields[1] and "s" in fields[1] and "haz-arena" in line:
                begin, end = (int(part, 16) for part in fields[0].split("-"))
                found.append((begin, end - begin))
    return found


def scribble(random: Random, how: str) -> None:
    """Write over all of it, in one of `WAYS`."""
    for begin, size in writable():
        if how == "all":
            for at in range(0, size, _PIECE):
                piece = min(_PIECE, size - at)
                ctypes.memmove(begin + at, random.randbytes(piece), piece)
        elif how == "some":
            for _ in range(200):
                at = random.randrange(size // 8) * 8
                ctypes.memmove(begin + at, random.randbytes(8), 8)
        else:
            ctypes.memset(begin, {"ones": 0xFF, "zeros": 0}[how], size)
