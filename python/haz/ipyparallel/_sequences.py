"""Sequences as arguments of maps: checked, cut to one length."""

from __future__ import annotations

import itertools

from haz._core.checks import shown
from haz.ipyparallel._canning import Reference
from haz.ipyparallel.partition import mappable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.ipyparallel.remotefunction import ParallelFunction

__all__ = [
    "check_callable",
    "check_sequences",
    "cut_to_shortest",
    "equal_sequences",
    "ranges_as_tuples",
    "tuples_as_ranges",
]


def check_sequences(sequences: tuple[Any, ...]) -> None:
    if not sequences:
        raise ValueError("map takes one sequence at least")
    for number, sequence in enumerate(sequences):
        if not hasattr(type(sequence), "__iter__") and not hasattr(type(sequence), "__getitem__"):
            raise TypeError(
                f"map takes sequences, and argument {number} of the function would come from "
                f"{shown(sequence)}"
            )


def check_callable(function: Any) -> None:
    if not callable(function) and not isinstance(function, Reference):
        raise TypeError(f"{function!r} can't be called, and so can't be sent to engines")


def ranges_as_tuples(parts: list[Any]) -> tuple[int, ...]:
    """Replace ranges among parts by their numbers, which need no pickle; return where they are."""
    places = []
    for place, part in enumerate(parts):
        if type(part) is range:
            parts[place] = part.start, part.stop, part.step
            places.append(place)
    return tuple(places)


def tuples_as_ranges(parts: Any, places: tuple[int, ...]) -> list[Any]:
    """Parts before `ranges_as_tuples`."""
    found = list(parts)
    for place in places:
        found[place] = range(*found[place])
    return found


def cut_to_shortest(sequences: list[Any]) -> tuple[list[Any], int]:
    """Sequences that can be cut, and the length of the shortest."""
    if len(sequences) == 1 and type(sequences[0]) in (range, list):
        return sequences, len(sequences[0])
    sized = [seq if _can_be_cut(seq) else None for seq in sequences]
    lengths = [len(seq) for seq in sized if seq is not None]
    limit = min(lengths, default=None)
    found: list[Any] = []
    for seq, known in zip(sequences, sized, strict=True):
        if known is not None:
            found.append(known)
        elif limit is None:
            found.append(list(seq))
        else:
            found.append(list(itertools.islice(iter(seq), limit)))
    return found, min(len(seq) for seq in found)


def _can_be_cut(seq: Any) -> bool:
    return hasattr(type(seq), "__len__") and (
        mappable(seq) or isinstance(seq, (str, bytes)) or hasattr(type(seq), "iloc")
    )


def equal_sequences(args: tuple[Any, ...], function: ParallelFunction) -> tuple[Any, int]:
    """Arguments, of which those that can be cut have one length."""
    lengths = {len(arg) for arg in args if mappable(arg)}
    if not lengths:
        raise ValueError(
            f"{function.__name__} got no sequence: a parallel function cuts lists, tuples, "
            "ranges and arrays; for other arguments use view.remote"
        )
    if len(lengths) > 1:
        raise ValueError(
            f"all sequences of {function.__name__} must have the same length; got "
            + ", ".join(map(str, sorted(lengths)))
        )
    return args, lengths.pop()
