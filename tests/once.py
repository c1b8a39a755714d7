"""What the processes that share the tests of one run make once (pytest-xdist)."""

from __future__ import annotations

import fcntl
import os


def shared_folder(tmp_path_factory):
    """Return a folder that is the same in all of them."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(tmp_path_factory, name, make):
    """Return the folder `name`, which the first process to come has filled by ``make(folder)``."""
    base = shared_folder(tmp_path_factory)
    folder, done = base / name, base / f"{name}.done"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
