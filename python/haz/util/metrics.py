"""Metrics of a program: counters, gauges, histograms, with Ray's interface.

Values are kept in the process that records them, where `snapshot` reads them all. Thread-safe.

>>> from haz.util import metrics
>>> hits = metrics.Counter("hits", description="Requests.", tag_keys=("path",))
>>> hits.inc(tags={"path": "/"})
>>> metrics.snapshot()["hits"]["values"]
[{'tags': {'path': '/'}, 'value': 1.0}]
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    Tags: TypeAlias = dict[str, str]
    #: Values of the tags, in the order of the keys.
    Series: TypeAlias = tuple[str, ...]

__all__ = ["Counter", "Gauge", "Histogram", "Metric", "snapshot"]

_lock = threading.Lock()
#: Name -> what was recorded under it: metrics of one name share it, as in Ray.
_recorded: dict[str, _Recorded] = {}


class _Recorded:
    """The values of all metrics of one name."""

    def __init__(self, metric: Metric) -> None:
        self.kind = type(metric).__name__.lower()
        self.description = metric._description
        self.tag_keys = metric._tag_keys
        self.boundaries = getattr(metric, "_boundaries", ())
        self.series: dict[Series, Any] = {}


class Metric:
    """Base of the metrics.

    Parameters
    ----------
    name
        Two metrics of one name record together; they must be of one kind, with the same tags.
    description
        For people.
    tag_keys
        Names of the tags that every recorded value has.
    """

    def __init__(
        self, name: str, description: str = "", tag_keys: Sequence[str] | None = None
    ) -> None:
        if type(self) is Metric:
            raise TypeError("Metric is the base of Counter, Gauge and Histogram")
        if not isinstance(name, str):
            raise TypeError(f"the name of a metric must be a string, not {name!r}")
        if not name:
            raise ValueError("the name of a metric can't be empty")
        if isinstance(tag_keys, str) or not isinstance(tag_keys, (list, tuple, type(None))):
            raise TypeError(f"tag_keys must be a tuple of strings, not {tag_keys!r}")
        for key in tag_keys or ():
            if not isinstance(key, str):
                raise TypeError(f"tag_keys must be strings, and {key!r} is none")
        self._name = name
        self._description = description
        self._tag_keys = tuple(tag_keys or ())
        self._default_tags: Tags = {}
        self._register()

    def _register(self) -> None:
        with _lock:
            mine = _Recorded(self)
            there = _recorded.setdefault(self._name, mine)
        for what in ("kind", "tag_keys", "boundaries"):
            if getattr(there, what) != getattr(mine, what):
                raise ValueError(
                    f"there is a metric {self._name!r} already, with another {what}: "
                    f"{getattr(there, what)!r}, and not {getattr(mine, what)!r}"
                )
        self._recorded = there

    def set_default_tags(self, default_tags: Tags) -> Metric:
        """Set tags for values that are recorded without them; return the metric."""
        self._check_tags(default_tags)
        self._default_tags = dict(default_tags)
        return self

    def _check_tags(self, tags: Tags) -> None:
        for key, value in tags.items():
            if key not in self._tag_keys:
                raise ValueError(
                    f"metric {self._name!r} has no tag {key!r}: its tag_keys are {self._tag_keys}"
                )
            if not isinstance(value, str):
                raise TypeError(f"values of tags must be strings, and that of {key!r} is {value!r}")

    def _series(self, tags: Tags | None) -> Series:
        given = self._default_tags
        if tags:
            self._check_tags(tags)
            given = {**given, **tags}
        missing = [key for key in self._tag_keys if key not in given]
        if missing:
            raise ValueError(f"metric {self._name!r} needs values for the tags {missing}")
        return tuple(given[key] for key in self._tag_keys)

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"


def _rebuild(kind: type[Metric], arguments: dict[str, Any], default_tags: Tags) -> Metric:
    return kind(**arguments).set_default_tags(default_tags)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"the value of a metric must be a number, not {value!r}")
    return float(value)


class Counter(Metric):
    """A number that only grows."""

    def inc(self, value: float = 1.0, tags: Tags | None = None) -> None:
        """Add `value`, which is more than 0."""
        number = _number(value)
        if not number > 0:
            raise ValueError(f"a counter only grows: its value must be more than 0, not {value!r}")
        series = self._series(tags)
        with _lock:
            sums = self._recorded.series
            sums[series] = sums.get(series, 0.0) + number


class Gauge(Metric):
    """A number that goes up and down."""

    def set(self, value: float | None, tags: Tags | None = None) -> None:
        """Record `value`; None is ignored."""
        if value is None:
            return
        number = _number(value)
        series = self._series(tags)
        with _lock:
            self._recorded.series[series] = number


class Histogram(Metric):
    """How many values were how large.

    Parameters
    ----------
    name, description, tag_keys
        As of every metric.
    boundaries
        Upper ends of the buckets, all above 0 and growing; there is one more bucket for the rest.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: Sequence[str] | None = None,
    ) -> None:
        if not boundaries:
            raise ValueError("a histogram needs boundaries, as in boundaries=[1, 10, 100]")
        numbers = tuple(_number(boundary) for boundary in boundaries)
        if any(not number > 0 for number in numbers):
            raise ValueError(f"boundaries must be more than 0, and are {list(boundaries)}")
        if any(b <= a for a, b in pairwise(numbers)):
            raise ValueError(f"boundaries must grow, and are {list(boundaries)}")
        self._boundaries = numbers
        super().__init__(name, description, tag_keys)

    def observe(self, value: float, tags: Tags | None = None) -> None:
        """Count `value` in its bucket."""
        number = _number(value)
        bucket = bisect_left(self._boundaries, number)
        series = self._series(tags)
        with _lock:
            found = self._recorded.series.get(series)
            if found is None:
                found = self._recorded.series[series] = _Buckets(len(self._boundaries) + 1)
            found.counts[bucket] += 1
            found.total += number

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": list(self._boundaries)}

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "boundaries": self._boundaries}


class _Buckets:
    def __init__(self, count: int) -> None:
        self.counts = [0] * count
        self.total = 0.0


def snapshot() -> dict[str, dict[str, Any]]:
    """Return what this process has recorded, by the names of the metrics.

    Returns
    -------
    dict
        For each name ``kind`` ("counter", "gauge", "histogram"), ``description`` and ``values``: a
        list with one dictionary for each combination of ``tags``, with its ``value``; histograms
        have ``count``, ``sum`` and ``buckets``, pairs of an upper end (the last: infinity) and the
        number of values in that bucket.
    """
    with _lock:
        return {name: _shown(recorded) for name, recorded in _recorded.items()}


def _shown(recorded: _Recorded) -> dict[str, Any]:
    values = []
    for series, value in recorded.series.items():
        tags = dict(zip(recorded.tag_keys, series, strict=True))
        if isinstance(value, _Buckets):
            ends = (*recorded.boundaries, float("inf"))
            values.append(
                {
                    "tags": tags,
                    "count": sum(value.counts),
                    "sum": value.total,
                    "buckets": list(zip(ends, value.counts, strict=True)),
                }
            )
        else:
            values.append({"tags": tags, "value": value})
    return {"kind": recorded.kind, "description": recorded.description, "values": values}
