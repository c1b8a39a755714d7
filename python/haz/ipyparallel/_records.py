"""What is known of a cluster's last calls, after their results are gone."""

from __future__ import annotations

import operator
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz.ipyparallel._messages import Facts, Message

__all__ = ["Record", "Records"]

#: As many calls are known; the oldest are forgotten first.
_MOST = 2000


class Record:
    """One call: what is known of it, and what is needed to make it again."""

    __slots__ = ("call", "facts")

    def __init__(self, facts: Facts, call: tuple[Any, ...] | None) -> None:
        self.facts = facts
        self.call = call


def _in(value: Any, among: Any) -> bool:
    return value in among


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "$lt": operator.lt,
    "$gt": operator.gt,
    "$lte": operator.le,
    "$gte": operator.ge,
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$in": _in,
    "$nin": lambda value, among: value not in among,
    "$exists": lambda value, wanted: (value is not None) == bool(wanted),
}


def _passes(value: Any, test: Any) -> bool:
    if not isinstance(test, dict):
        return bool(value == test)
    for name, operand in test.items():
        if name not in _TESTS:
            raise ValueError(f"{name!r} is no test of a query: {', '.join(sorted(_TESTS))}")
        if value is None and name in ("$lt", "$gt", "$lte", "$gte"):
            return False
        if not _TESTS[name](value, operand):
            return False
    return True


class Records:
    """The last calls of a cluster, in the order in which they were made. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}

    def add(self, message: Message, call: tuple[Any, ...] | None = None) -> None:
        """Note a call; `call` is what is needed to make it again."""
        with self._lock:
            self._records[message.msg_id] = Record(message.facts, call)
            if len(self._records) > _MOST:
                del self._records[next(iter(self._records))]

    def get(self, msg_id: str) -> Record | None:
        """The record of a call, if it is known."""
        return self._records.get(msg_id)

    def history(self) -> list[str]:
        """The ids of the calls."""
        with self._lock:
            return list(self._records)

    def forget(self, msg_ids: Iterable[str] | None) -> None:
        """Forget calls; None: all."""
        with self._lock:
            if msg_ids is None:
                self._records.clear()
                return
            for msg_id in msg_ids:
                self._records.pop(msg_id, None)

    def query(
        self, query: dict[str, Any], keys: Iterable[str] | str | None
    ) -> list[dict[str, Any]]:
        """Calls whose metadata pass the tests of a query; see `Client.db_query`."""
        with self._lock:
            records = [record.facts.metadata() for record in self._records.values()]
        found = [
            metadata
            for metadata in records
            if all(_passes(metadata.get(name), test) for name, test in query.items())
        ]
        if keys is None:
            return [dict(metadata) for metadata in found]
        wanted = {"msg_id", *([keys] if isinstance(keys, str) else keys)}
        return [{name: metadata.get(name) for name in wanted} for metadata in found]
