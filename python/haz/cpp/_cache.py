"""Compiled libraries on disk, named by the content that they were made of.

A library comes into the folder by one rename, so that whoever sees it sees all of it. Processes
that want the same one at a time wait for the first. Beyond the limit the ones not used for longest go.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["cache_folder", "clear_cache", "find_or_build"]

#: Bytes of all libraries, unless HAZ_CPP_CACHE_MB says otherwise.
_LIMIT_BYTES = 512 * 1024 * 1024
#: What a killed process has left is taken away after a day.
_LEFT_OVER_S = 24 * 3600.0


def cache_folder() -> Path:
    """Return the folder of the compiled libraries, and make it.

    ``HAZ_CPP_CACHE`` if that is set, else ``haz/cpp`` in ``XDG_CACHE_HOME`` or ``~/.cache``, else one of
    this user's own in the folder for temporary files.

    Raises
    ------
    PermissionError
        If others could put libraries there, which this process would then load.
    """
    chosen = os.environ.get("HAZ_CPP_CACHE")
    if chosen:
        return _private_folder(Path(chosen).absolute())
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
        return _private_folder(home / "haz" / "cpp")
    except (OSError, RuntimeError):  # RuntimeError: no home
        return _private_folder(Path(tempfile.gettempdir()) / f"cpp-kernels-{os.geteuid()}")


def _private_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.stat()
    if state.st_uid != os.geteuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"{folder}: others can write there, and libraries in it would be loaded: "
            f"run `chmod go-w` on it, or set HAZ_CPP_CACHE to a folder of your own"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: can't be written to: set HAZ_CPP_CACHE to another folder")
    return folder


def find_or_build(key: str, build: Callable[[Path], Path]) -> Path:
    """Return the library `key`; if it is not there, `build` makes it in the folder that it gets."""
    folder = cache_folder()
    library = folder / f"{key}.so"
    if _touched(library):
        return library
    with _locked(folder / f"lock-{key[0]}"):
        if _touched(library):  # another process was first
            return library
        scratch = Path(tempfile.mkdtemp(prefix="build-", dir=folder))
        try:
            os.replace(build(scratch), library)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _prune(folder, library)
    return library


def clear_cache() -> None:
    """Delete all compiled libraries. Those that processes have loaded go on working in them."""
    folder = cache_folder()
    for library in folder.glob("*.so"):
        library.unlink(missing_ok=True)


def _touched(library: Path) -> bool:
    """Whether the library is there; notes that it was used."""
    try:
        os.utime(library)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # Lock files stay: to delete one would let two processes hold different ones of that name.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _limit_bytes() -> int:
    text = os.environ.get("HAZ_CPP_CACHE_MB", "")
    return int(text) * 1024 * 1024 if text.isdigit() else _LIMIT_BYTES


def _prune(folder: Path, newest: Path) -> None:
    libraries = []
    for entry in os.scandir(folder):
        try:
            state = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if entry.name.endswith(".so"):
            libraries.append((state.st_mtime, state.st_size, entry.path))
        elif entry.name.startswith("build-") and time.time() - state.st_mtime > _LEFT_OVER_S:
            shutil.rmtree(entry.path, ignore_errors=True)
    excess = sum(size for _, size, _ in libraries) - _limit_bytes()
    for _, size, path in sorted(libraries):
        if excess <= 0:
            break
        if path != str(newest):
            Path(path).unlink(missing_ok=True)
            excess -= size
