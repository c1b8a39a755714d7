"""Descriptors that one process opens of another: by its number and theirs, not by a name."""

from __future__ import annotations

import os

__all__ = ["open_descriptor", "send_descriptor"]


def send_descriptor(descriptor: int) -> tuple[int, int, int, int]:
    """Return what tells another process how to open a descriptor of this one."""
    status = os.fstat(descriptor)
    return os.getpid(), descriptor, status.st_dev, status.st_ino


def open_descriptor(sent: tuple[int, int, int, int], flags: int) -> int:
    """Open what `send_descriptor` has described.

    Raises
    ------
    OSError
        The sender has closed it or has ended, or the system does not let this process look.
    """
    pid, number, device, inode = sent
    try:
        descriptor = os.open(f"/proc/{pid}/fd/{number}", flags | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OSError(f"what process {pid} has sent is not there any more: keep it there") from None
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) != (device, inode):
        os.close(descriptor)
        raise OSError(f"what process {pid} has sent was closed there before it was opened here")
    return descriptor
