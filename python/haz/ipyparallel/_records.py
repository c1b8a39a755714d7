"""Which calls of a cluster are known: those whose results somebody holds, and the last ones."""

from __future__ import annotations

import operator
import threading
from collections import deque
from weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from haz.ipyparallel._messages import DirectMessage, Facts, Message

__all__ = ["MOST_RECORDS", "HeldMessages", "Records"]

#: As many calls are known; the oldest are forgotten first.
MOST_RECORDS = 2000


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


class HeldMessages:
    """Calls by their ids: those that have not ended, and those that somebody else holds. Thread-safe.

    A `weakref.WeakValueDictionary` does more at each change, which shows where calls are many.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refs: dict[str, ref[Message]] = {}
        self._next_look = MOST_RECORDS
        #: Calls of engines, so that one whose result nobody holds can be waited for.
        self._running: dict[str, DirectMessage] = {}
        self._next_poll = MOST_RECORDS

    def hold(self, message: DirectMessage) -> None:
        """Hold a call until it has ended."""
        running = self._running
        running[message.msg_id] = message
        if message.status is not None:
            self.let_go(message)
        elif len(running) > self._next_poll:
            for each in list(running.values()):
                each.ready()  # which lets go of what has ended
            self._next_poll = max(MOST_RECORDS, 2 * len(running))

    def let_go(self, message: DirectMessage) -> None:
        """Hold a call no more."""
        self._running.pop(message.msg_id, None)

    def add(self, message: Message) -> None:
        """Note a call."""
        refs = self._refs
        refs[message.msg_id] = ref(message)
        if len(refs) > self._next_look:
            self._forget_lost()

    def _forget_lost(self) -> None:
        with self._lock:
            for msg_id, held in list(self._refs.items()):
                if held() is None:
                    del self._refs[msg_id]
            self._next_look = max(MOST_RECORDS, 2 * len(self._refs))

    def get(self, msg_id: str) -> Message | None:
        """The call of an id, or None."""
        held = self._refs.get(msg_id)
        return None if held is None else held()

    def values(self) -> list[Message]:
        """All of them."""
        found = [held() for held in list(self._refs.values())]
        return [message for message in found if message is not None]

    def forget(self, msg_id: str) -> None:
        """Forget one, if it is known."""
        with self._lock:
            self._refs.pop(msg_id, None)


class Records:
    """The last calls of a cluster, in the order in which they were made. Thread-safe."""

    def __init__(self) -> None:
        self._records: deque[Facts] = deque()

    def add(self, facts: Facts) -> None:
        """Note a call."""
        records = self._records
        records.append(facts)
        if len(records) > MOST_RECORDS:
            records.popleft().call = None

    def get(self, msg_id: str) -> Facts | None:
        """What is known of a call, if it is one of the last."""
        return next((facts for facts in self._records.copy() if facts.msg_id == msg_id), None)

    def all(self) -> list[Facts]:
        """What is known of the calls."""
        return list(self._records.copy())

    def history(self) -> list[str]:
        """The ids of the calls."""
        return [facts.msg_id for facts in self._records.copy()]

    def forget(self, msg_ids: Iterable[str] | None) -> None:
        """Forget calls; None: all."""
        if msg_ids is None:
            self._records.clear()
            return
        unwanted = set(msg_ids)
        for facts in self._records.copy():
            if facts.msg_id in unwanted:
                try:
                    self._records.remove(facts)
                except ValueError:
                    pass  # it went meanwhile, as the oldest

    def query(
        self, query: dict[str, Any], keys: Iterable[str] | str | None
    ) -> list[dict[str, Any]]:
        """Calls whose metadata pass the tests of a query; see `Client.db_query`."""
        records = [facts.metadata() for facts in self._records.copy()]
        found = [
            metadata
            for metadata in records
            if all(_passes(metadata.get(name), test) for name, test in query.items())
        ]
        if keys is None:
            return [dict(metadata) for metadata in found]
        wanted = {"msg_id", *([keys] if isinstance(keys, str) else keys)}
        return [{name: metadata.get(name) for name in wanted} for metadata in found]
