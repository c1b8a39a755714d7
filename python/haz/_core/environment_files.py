"""What runtime environments need on disk: unpacked archives, virtual environments.

They are made once for equal contents, under a lock, and kept in a folder for later programs:
``HAZ_CACHE_DIR``, else ``haz`` in ``XDG_CACHE_HOME`` or ``~/.cache``. It may be deleted while no
program of haz runs.
"""

from __future__ import annotations

import os
import sys

from haz.exceptions import RuntimeEnvSetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["cache_folder", "unpacked_archive", "virtual_environment"]

#: Of the output of a failed tool, the end is told.
_TOLD_CHARACTERS = 8000


def cache_folder() -> str:
    """Return the folder that keeps what was made."""
    named = os.environ.get("HAZ_CACHE_DIR")
    if named:
        return os.path.abspath(named)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "haz")


def _made_once(kind: str, key: str, make: Callable[[str], None]) -> str:
    """Return the folder of that key; the first process that asks for it has `make` fill it."""
    import fcntl
    import shutil

    folder = os.path.join(cache_folder(), kind, key)
    complete = os.path.join(folder, ".haz_complete")
    if os.path.exists(complete):
        return folder
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with open(folder + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(complete):
            return folder
        shutil.rmtree(folder, ignore_errors=True)  # of a process that died in the middle
        try:
            make(folder)
            with open(complete, "w"):
                pass
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def unpacked_archive(path: str, digest: str) -> str:
    """Return a folder with the contents of a zip archive (a wheel is one) of that digest."""

    def unpack(folder: str) -> None:
        import zipfile

        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
            for member in archive.infolist():
                mode = member.external_attr >> 16
                if mode & 0o111 and not member.is_dir():
                    place = os.path.join(folder, member.filename)
                    if os.path.isfile(place):
                        os.chmod(place, 0o600 | (mode & 0o777))

    return _made_once("archives", digest, unpack)


def virtual_environment(pip: dict[str, Any], timeout_s: int) -> tuple[str, str]:
    """Return the prefix and the site-packages of a virtual environment with those packages.

    It sees the packages that the driver sees, as pip does when it installs: what is there already
    is not installed again.

    Parameters
    ----------
    pip
        What `haz._core.environment` has checked.
    timeout_s
        Seconds for each run of a tool; -1: no limit.

    Raises
    ------
    RuntimeEnvSetupError
        With the tool's output.
    """
    from hashlib import sha256

    from haz._core.zygote import find_executable

    python = find_executable()
    parents = _parents()
    key = sha256(repr((sys.version, python, parents, sorted(pip.items()))).encode()).hexdigest()
    timeout = None if timeout_s < 0 else timeout_s

    def make(folder: str) -> None:
        _run([python, "-I", "-m", "venv", "--without-pip", folder], timeout)
        with open(os.path.join(_site_of(folder), "_haz_parents.pth"), "w") as file:
            file.writelines(parent + "\n" for parent in parents)
        _install(os.path.join(folder, "bin", "python"), folder, pip, timeout)

    prefix = _made_once("pip", key[:32], make)
    return prefix, _site_of(prefix)


def _site_of(prefix: str) -> str:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.path.join(prefix, "lib", name, "site-packages")


def _parents() -> list[str]:
    names = ("site-packages", "dist-packages")
    return [
        entry
        for entry in sys.path
        if os.path.basename(entry) in names and os.path.isabs(entry) and os.path.isdir(entry)
    ]


def _install(python: str, folder: str, pip: dict[str, Any], timeout: int | None) -> None:
    tool = [python, "-m", "pip"]
    try:
        _run([*tool, "--version"], timeout)
    except RuntimeEnvSetupError:
        _run([python, "-m", "ensurepip", "--upgrade"], timeout)
    options = list(pip["options"])
    if pip["version"]:
        _run([*tool, "install", *options, "pip" + pip["version"]], timeout, pip["folder"])
    wanted = pip["path"]  # paths in a file are relative to it
    if not wanted:
        wanted = os.path.join(folder, "requirements.txt")
        with open(wanted, "w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in pip["lines"])
    _run([*tool, "install", *options, "-r", wanted], timeout, pip["folder"])
    if pip["check"]:
        _run([*tool, "check"], timeout)


def _run(command: list[str], timeout: int | None, folder: str | None = None) -> None:
    import subprocess

    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    variables.update(
        PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_REQUIRE_VIRTUALENV="0"
    )
    shown = " ".join(command[1:])
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = late.output or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        raise _failed(f"`{shown}` took more than {timeout} s", text) from None
    if done.returncode != 0:
        raise _failed(f"`{shown}` ended with exit code {done.returncode}", done.stdout)


def _failed(what: str, output: str) -> RuntimeEnvSetupError:
    from haz._core.environment_setup import SetupFailed

    told = output.rstrip()[-_TOLD_CHARACTERS:]
    return SetupFailed(f"the runtime environment could not be set up: {what}:\n{told}")
