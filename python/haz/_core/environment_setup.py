"""Makes a process what a runtime environment says: folder, ``sys.path``, packages, hook.

In a worker once and for good, before its first task: the scheduler gives a worker tasks of one
environment only. The inline engine does it around each task, and puts things back.
"""

from __future__ import annotations

import os
import sys

from haz._core import environment_files as files
from haz._core.environment import unpack
from haz.exceptions import RuntimeEnvSetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from typing import Any

__all__ = ["Environment", "SetupFailed"]


class SetupFailed(RuntimeEnvSetupError):
    """Raised by the set-up itself, and not by the task."""


class _Modules:
    """Finds the named modules in their places, and no others that lie beside them."""

    def __init__(self, paths: list[str]) -> None:
        self._places: dict[str, str] = {}
        for path in paths:
            name = os.path.basename(path)
            self._places[name[:-3] if name.endswith(".py") else name] = os.path.dirname(path)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        place = self._places.get(name) if path is None else None
        if place is None:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, [place])


class Environment:
    """An environment that is ready to be entered.

    Making it takes as long as archives and packages do, and changes nothing in the process.
    Raises `SetupFailed`.
    """

    def __init__(self, packed: bytes) -> None:
        self.parts = unpack(packed)
        self._variables: dict[str, str] = dict(self.parts.get("env_vars", {}))
        self._paths: list[str] = []
        self._finders: list[_Modules] = []
        self._folder: str | None = None
        self._was_set_up = False
        try:
            self._prepare()
        except SetupFailed:
            raise
        except Exception as error:
            raise SetupFailed(
                f"the runtime environment could not be set up: {type(error).__name__}: {error}"
            ) from error

    def _prepare(self) -> None:
        working_dir = self.parts.get("working_dir")
        if working_dir is not None:
            self._folder = _place_of(working_dir)
            if not os.path.isdir(self._folder):
                raise SetupFailed(
                    f"the runtime environment could not be set up: the working_dir {self._folder} "
                    f"is gone"
                )
            self._paths.append(self._folder)
        modules = self.parts.get("py_modules", ())
        self._paths += [_place_of(one) for one in modules if one[0] == "archive"]
        named = [one[1] for one in modules if one[0] == "module"]
        if named:
            self._finders.append(_Modules(named))
        pip = self.parts.get("pip")
        if pip is not None:
            seconds = self.parts.get("config", {}).get("timeout", 600)
            prefix, site = files.virtual_environment(pip, seconds)
            self._paths.append(site)
            self._variables.setdefault("VIRTUAL_ENV", prefix)
            path = self._variables.get("PATH", os.environ.get("PATH", os.defpath))
            self._variables["PATH"] = os.path.join(prefix, "bin") + os.pathsep + path
            _refuse_loaded(site)

    def enter(self, undo: list[Callable[[], object]]) -> None:
        """Change the process; the first time, call the hook. Raises `SetupFailed`.

        What puts a change back is appended to `undo`, also where this raises; to be called last
        first. What the hook does stays.
        """
        if self._folder is not None:
            self._change_folder(self._folder, undo)
        self._change_path(undo)
        for name, value in self._variables.items():
            undo.append(_setter_of(name, os.environ.get(name)))
            os.environ[name] = value
        if self._was_set_up:
            return
        hook = self.parts.get("worker_process_setup_hook")
        if hook is not None:
            self._call(hook)
        self._was_set_up = True

    @staticmethod
    def _change_folder(folder: str, undo: list[Callable[[], object]]) -> None:
        try:
            before = os.getcwd()
            undo.append(lambda: os.chdir(before))
        except OSError:
            pass  # it was gone before
        try:
            os.chdir(folder)
        except OSError as error:
            raise SetupFailed(
                f"the runtime environment could not be set up: working_dir: {error}"
            ) from error

    def _change_path(self, undo: list[Callable[[], object]]) -> None:
        path, finders = list(sys.path), list(sys.meta_path)
        undo.append(lambda: sys.path.__setitem__(slice(None), path))
        undo.append(lambda: sys.meta_path.__setitem__(slice(None), finders))
        sys.meta_path[:0] = self._finders
        sys.path[:0] = self._paths
        if "pip" in self.parts:
            import site

            # Of the packages' own .pth files, as the interpreter's start reads them.
            site.addsitedir(self._paths[-1], set(sys.path))

    @staticmethod
    def _call(hook: str | bytes) -> None:
        try:
            if isinstance(hook, bytes):
                from haz._core import serialize

                serialize.load_function(hook)()
            else:
                module, _, name = hook.rpartition(".")
                getattr(__import__(module, fromlist=[name]), name)()
        except Exception:
            import traceback

            text = traceback.format_exc()
            raise SetupFailed(
                f"the runtime environment could not be set up: worker_process_setup_hook "
                f"failed:\n{text.rstrip()}"
            ) from None


def _place_of(part: tuple[str, ...]) -> str:
    return part[1] if part[0] == "folder" else files.unpacked_archive(part[1], part[2])


def _setter_of(name: str, value: str | None) -> Callable[[], Any]:
    if value is None:
        return lambda: os.environ.pop(name, None)
    return lambda: os.environ.__setitem__(name, value)


def _refuse_loaded(site: str) -> None:
    """A package that the zygote has loaded can't become another version of it."""
    loaded = [
        name
        for name in sys.modules
        if "." not in name and name != "__main__" and os.path.isdir(os.path.join(site, name))
    ]
    if loaded:
        raise SetupFailed(
            f"the runtime environment could not be set up: pip has installed "
            f"{', '.join(sorted(loaded))}, which workers have loaded already: give "
            f"haz.init(preload=[]), or leave it out of 'pip'"
        )
