"""Memory that travels between processes in pickles: `Block`.

It is sent as a process and its descriptor, which the other process opens; so it has no name, and nothing
is left of it when all processes have ended, however they ended. Whoever sends has to keep what it sends
until it was opened: arguments of pools' calls are kept, and results by workers, for a while.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
import weakref
from collections import deque

from haz._core.descriptors import open_descriptor, send_descriptor
from haz._core.runtime import runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Block", "keep_sent"]

_CHUNK_BYTES = 64 * 1024
_ALIGNMENT = 64
#: How many of the last objects that were sent are kept.
_KEPT = 256

_kept: deque[Any] = deque(maxlen=_KEPT)
_lock = threading.Lock()
_chunks: weakref.WeakValueDictionary[tuple[int, int], _Chunk] = weakref.WeakValueDictionary()
_current: weakref.ref[_Chunk] | None = None


def keep_sent(value: object) -> None:
    """In a worker, keep what is being sent until many others were: a result has no other owner."""
    if runtime.is_worker:
        _kept.append(value)


class _Chunk:
    """A memory file, mapped."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.memory = mmap.mmap(descriptor, size)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.used = 0
        #: Places that are free again, by size.
        self.free: dict[int, deque[int]] = {}
        #: Whether another process may know it, so that no place is used again.
        self.is_known = False

    def __del__(self) -> None:
        os.close(self.descriptor)


def _key_of(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _make_chunk(size: int) -> _Chunk:
    descriptor = os.memfd_create("haz-shared", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size)
        chunk = _Chunk(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    _chunks[_key_of(descriptor)] = chunk
    return chunk


def _after_fork() -> None:
    """The other process goes on with the chunks that there are."""
    global _lock, _current
    _lock = threading.Lock()
    _current = None


def _before_fork() -> None:
    chunk = None if _current is None else _current()
    if chunk is not None:
        chunk.is_known = True


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


class Block:
    """Some bytes of shared memory, zero at first. It can be pickled, and then is the same memory."""

    def __init__(self, size: int) -> None:
        global _current
        #: As memory of `multiprocessing.heap` has it.
        self.size = size
        self._length = length = max(-(-size // _ALIGNMENT) * _ALIGNMENT, _ALIGNMENT)
        if length > _CHUNK_BYTES // 16:
            self._chunk, self._place = _make_chunk(length), 0
            return
        with _lock:
            chunk = None if _current is None else _current()
            if chunk is not None:
                free = chunk.free.get(length)
                if free and not chunk.is_known:
                    self._chunk, self._place = chunk, free.pop()
                    ctypes.memset(self.address, 0, length)
                    return
            if chunk is None or chunk.used + length > _CHUNK_BYTES:
                chunk = _make_chunk(_CHUNK_BYTES)
                _current = weakref.ref(chunk)
            self._chunk, self._place = chunk, chunk.used
            chunk.used += length

    @property
    def address(self) -> int:
        """Of the first byte, in this process."""
        return self._chunk.address + self._place

    def create_memoryview(self) -> memoryview:
        """Return the memory, as `multiprocessing.heap.BufferWrapper` does."""
        return memoryview(self._chunk.memory)[self._place : self._place + self.size]

    def __reduce__(self) -> tuple[Any, ...]:
        keep_sent(self)
        self._chunk.is_known = True
        sent = send_descriptor(self._chunk.descriptor)
        return _open_block, (sent, len(self._chunk.memory), self._place, self.size)

    def __del__(self) -> None:
        chunk = getattr(self, "_chunk", None)
        if chunk is not None and not chunk.is_known:
            # Without the lock, since this may run anywhere.
            chunk.free.setdefault(self._length, deque()).append(self._place)


def _open_block(sent: tuple[int, int, int, int], length: int, place: int, size: int) -> Block:
    block = Block.__new__(Block)
    chunk = _chunks.get((sent[2], sent[3]))
    if chunk is None:
        descriptor = open_descriptor(sent, os.O_RDWR)
        chunk = _Chunk(descriptor, length)
        chunk.is_known = True
        chunk = _chunks.setdefault((sent[2], sent[3]), chunk)
    block.size = size
    block._length = size
    block._chunk, block._place = chunk, place
    return block
