"""How sequences are cut into parts, one for each engine, and joined again."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["Map", "RoundRobinMap", "dist_maps", "mappable"]


def mappable(thing: object) -> bool:
    """Whether `thing` is cut into parts: a list, a tuple, a range, an array, a string."""
    return isinstance(thing, (list, tuple, range)) or _is_array(thing)


def _is_array(thing: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(thing, numpy.ndarray)


class Map:
    """Parts that lie one behind the other, the first ones greater by one where it does not fit."""

    def get_partition(self, seq: Any, p: int, q: int, n: int | None = None) -> Any:
        """Part `p` of `q` of a sequence of `n` items; a slice of it, of its own type.

        Raises
        ------
        ValueError
            If `p` is not in 0 to `q` - 1.
        """
        if not 0 <= p < q:
            raise ValueError(f"there are {q} parts, and no part {p}")
        n = len(seq) if n is None else n
        size, more = divmod(n, q)
        low = p * size + min(p, more)
        high = low + size + (p < more)
        return seq[low:high] if hasattr(type(seq), "__getitem__") else list(seq)[low:high]

    getPartition = get_partition  # noqa: N815 - ipyparallel's name

    def join_partitions(self, parts: Sequence[Any]) -> Any:
        """The sequence of its parts; parts that are no lists, tuples or arrays stay as they are."""
        if not parts:
            return list(parts)
        if _is_array(parts[0]):
            import numpy

            return numpy.concatenate([part for part in parts if _has_length(part)])
        if isinstance(parts[0], (list, tuple)):
            joined: list[Any] = []
            for part in parts:
                joined.extend(part)
            return joined
        return list(parts)

    joinPartitions = join_partitions  # noqa: N815 - ipyparallel's name


class RoundRobinMap(Map):
    """Parts of every q-th item: like dealing cards."""

    def get_partition(self, seq: Any, p: int, q: int, n: int | None = None) -> Any:
        """Part `p` of `q`: items p, p + q, p + 2 q, …"""
        n = len(seq) if n is None else n
        return seq[p:n:q]

    getPartition = get_partition  # noqa: N815

    def join_partitions(self, parts: Sequence[Any]) -> Any:
        """The sequence of its parts."""
        if not parts:
            return list(parts)
        if _is_array(parts[0]):
            import numpy

            joined = numpy.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
            for p, part in enumerate(parts):
                joined[p :: len(parts)] = part
            return joined
        if isinstance(parts[0], (list, tuple)):
            longest = max(map(len, parts))
            return [part[i] for i in range(longest) for part in parts if i < len(part)]
        return list(parts)

    joinPartitions = join_partitions  # noqa: N815


def _has_length(array: Any) -> bool:
    return bool(array.ndim)


#: Names of distributions: "b" for blocks, "r" for round robin.
dist_maps: dict[str, type[Map]] = {"b": Map, "r": RoundRobinMap}
