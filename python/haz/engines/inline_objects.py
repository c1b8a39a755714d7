"""Objects of the inline engine: what is stored, and the refs to it."""

from __future__ import annotations

from haz._core.refs import ObjectRef
from haz._core.runtime import runtime
from haz.exceptions import ObjectLostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from haz.engines.inline import InlineEngine
    from haz.engines.inline_actors import InlineActor

__all__ = ["Entry", "InlineRef"]


class Entry:
    """A stored object. Lives as long as a ref to it, or an object that contains one."""

    __slots__ = (
        "__weakref__",
        "_freed_bytes",
        "actor",
        "buffers",
        "data",
        "engine",
        "error",
        "is_of_actor",
        "refs",
        "size",
        "task",
    )

    def __init__(self, engine: InlineEngine) -> None:
        self.engine = engine
        self.data: bytes | None = None
        self.buffers: list[bytes] = []
        self.refs: list[InlineRef] = []
        self.error: dict[str, Any] | None = None
        #: The actor that this is the creation of: it lives as long.
        self.actor: InlineActor | None = None
        #: Whether it is the result of a call of an actor.
        self.is_of_actor = False
        #: Number of the task that has made it; 0: none.
        self.task = 0
        self.size = 0
        self._freed_bytes = engine.freed_bytes

    def drop(self, error: dict[str, Any]) -> None:
        self.data, self.buffers, self.refs, self.error = None, [], [], error
        # Any thread may be here, also in the middle of the engine's own code (garbage
        # collection): only append.
        self._freed_bytes.append(self.size)
        self.size = 0

    def settle(self) -> None:
        """Let it be ready. Only what stands for a stream is not always."""

    def cancel(self) -> None:
        """Cancel the task that makes it, if that has not ended."""

    def __del__(self) -> None:
        if self.size:
            self._freed_bytes.append(self.size)


class InlineRef(ObjectRef["Any"]):
    """The engine's ObjectRef."""

    __slots__ = ("__weakref__", "entry", "id")

    def __init__(self, entry: Entry, number: int) -> None:
        self.entry = entry
        self.id = number

    def hex(self) -> str:
        return f"{self.entry.engine.epoch}{self.id:016x}"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InlineRef) and other.entry is self.entry

    def __reduce__(self) -> tuple[Any, ...]:
        self.entry.engine.note_pickled(self)
        return _rebuild_ref, (self.entry.engine.epoch, self.id)


def _rebuild_ref(epoch: str, number: int) -> InlineRef:
    entries = getattr(runtime.engine, "entries", None)  # no other engine has it
    entry = None if entries is None else entries.get(number)
    if entry is None or entry.engine.epoch != epoch:
        raise ObjectLostError(
            f"ObjectRef({epoch}{number:016x}) is from a run of haz that has ended, or its object "
            f"is gone"
        )
    return InlineRef(entry, number)
