"""Object refs: handles of values that exist now or will exist later."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Generator
    from typing import Any, Generic, TypeVar

    from haz._core.ids import JobID, TaskID

    T_co = TypeVar("T_co", covariant=True)
else:
    # `typing` costs milliseconds, and this file is loaded at every start. `ObjectRef[int]` still
    # works at run time, see __class_getitem__.
    T_co = None
    Generic = {T_co: object}

__all__ = ["ObjectRef"]


class ObjectRef(Generic[T_co]):
    """Handle of one object of type ``T_co``; made by ``.remote()`` and ``haz.put``, never by hand.

    Refs are hashable and equal if they name the same object. While a ref exists anywhere (in a
    variable, a container that was put, a queued task's arguments) its object is kept. Thread-safe.
    """

    __slots__ = ()

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(type(list[int]))

    def hex(self) -> str:
        """Return the id as 32 hexadecimal digits: 16 of the node's epoch, 16 of the object."""
        raise NotImplementedError

    def binary(self) -> bytes:
        """Return the id as 16 bytes."""
        return bytes.fromhex(self.hex())

    def is_nil(self) -> bool:
        """Return whether this is the ref of nothing."""
        return False

    def task_id(self) -> TaskID:
        """Return the id of the task that makes the value, as far as the node remembers.

        That of a ref which was put is nil.
        """
        from haz._core.ids import TaskID
        from haz._core.runtime import runtime

        found = runtime.ensure().task_of(self)
        return TaskID(b"\xff" * 16 if found is None else bytes.fromhex(found))

    def job_id(self) -> JobID:
        """Return the id of the program that uses the ref."""
        from haz._core.ids import JobID
        from haz._core.runtime import runtime

        return JobID(bytes.fromhex(str(runtime.ensure().context()["job_id"])))

    @staticmethod
    def call_site() -> str:
        """Return an empty text: where a ref was made is not recorded."""
        return ""

    @staticmethod
    def nil() -> ObjectRef[Any]:
        """Return the ref of nothing: it has an id, and no value."""
        from haz._core.generator import NIL

        return NIL

    @staticmethod
    def size() -> int:
        """Return the number of bytes of an id."""
        return 16

    def __repr__(self) -> str:
        return f"ObjectRef({self.hex()})"

    def __copy__(self) -> ObjectRef[T_co]:
        return self

    def __deepcopy__(self, _memo: object) -> ObjectRef[T_co]:
        return self

    def future(self) -> concurrent.futures.Future[T_co]:
        """Return a ``concurrent.futures.Future`` that completes with the value or the error.

        Cancelling the future does not cancel the task; ``haz.cancel(ref)`` does.
        """
        from haz._core.futures import future_of

        return future_of(self)

    def __await__(self) -> Generator[Any, None, T_co]:
        from haz._core.futures import await_ref

        return await_ref(self)
