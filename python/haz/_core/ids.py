"""Ids as objects, as Ray's programs know them. haz itself uses their hexadecimal texts."""

from __future__ import annotations

import os

__all__ = [
    "ActorClassID",
    "ActorID",
    "BaseID",
    "FunctionID",
    "JobID",
    "NodeID",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
]


class BaseID:
    """An id: bytes that can be compared, hashed, pickled and shown.

    Parameters
    ----------
    binary
        The bytes. Their number depends on what the id is of.
    """

    __slots__ = ("_binary",)

    #: Bytes of a random or nil id.
    _SIZE = 16

    def __init__(self, binary: bytes) -> None:
        if not isinstance(binary, bytes):
            raise TypeError(f"{type(self).__name__} takes bytes, not {type(binary).__name__}")
        self._binary = binary

    @classmethod
    def from_binary(cls, binary: bytes) -> BaseID:
        """Make an id of its bytes."""
        return cls(binary)

    @classmethod
    def from_hex(cls, text: str) -> BaseID:
        """Make an id of its hexadecimal text."""
        return cls(bytes.fromhex(text))

    @classmethod
    def from_random(cls) -> BaseID:
        """Make an id that is no other's."""
        return cls(os.urandom(cls._SIZE))

    @classmethod
    def nil(cls) -> BaseID:
        """Return the id of nothing."""
        return cls(b"\xff" * cls._SIZE)

    @classmethod
    def size(cls) -> int:
        """Return the number of bytes of a random id."""
        return cls._SIZE

    def is_nil(self) -> bool:
        """Whether it is the id of nothing."""
        return not self._binary.strip(b"\xff")

    def binary(self) -> bytes:
        """Return the bytes."""
        return self._binary

    def hex(self) -> str:
        """Return the hexadecimal text."""
        return self._binary.hex()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseID) or type(other) is not type(self):
            return NotImplemented
        return other._binary == self._binary

    def __hash__(self) -> int:
        return hash((type(self), self._binary))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[type[BaseID], tuple[bytes]]:
        return type(self), (self._binary,)


class UniqueID(BaseID):
    """An id of anything."""

    __slots__ = ()


class ActorID(BaseID):
    """Id of an actor."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """Id of a class of actors."""

    __slots__ = ()


class FunctionID(UniqueID):
    """Id of a remote function."""

    __slots__ = ()


class JobID(BaseID):
    """Id of a driver's run."""

    __slots__ = ()
    _SIZE = 4


class NodeID(UniqueID):
    """Id of the node."""

    __slots__ = ()
    _SIZE = 8


class PlacementGroupID(BaseID):
    """Id of a placement group."""

    __slots__ = ()


class TaskID(BaseID):
    """Id of a task."""

    __slots__ = ()


class WorkerID(UniqueID):
    """Id of a process on its node."""

    __slots__ = ()
    _SIZE = 12
