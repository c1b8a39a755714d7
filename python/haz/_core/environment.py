"""Runtime environments as users give them: what they may be, checked where they are given.

A checked one is two parts: environment variables, and the rest, packed into bytes that are equal
for equal environments. `haz._core.environment_setup` makes a process what those say.
"""

from __future__ import annotations

import marshal
import os

from haz._core.checks import shown
from haz._core.options import check_int, check_str, check_str_dict, near_matches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["FIELDS", "check_runtime_env", "described", "key_of", "merged", "pack", "unpack"]

#: What a runtime_env may have. `excludes` has no meaning where nothing is copied.
FIELDS = (
    "env_vars",
    "working_dir",
    "py_modules",
    "worker_process_setup_hook",
    "pip",
    "excludes",
    "config",
)

#: Fields of Ray's that haz can't honour, and what to do instead.
_REFUSED = {
    "conda": "start the program in that conda environment, or list packages in 'pip'",
    "uv": "list the packages in 'pip', or start the program with `uv run`",
    "container": "start the program in the container",
    "image_uri": "start the program in the container",
    "py_executable": "start the program with that Python: workers have the driver's",
    "java_jars": "haz runs Python",
    "nsight": "start the program under the profiler",
    "rocprof_sys": "start the program under the profiler",
    "mpi": "haz starts no MPI processes",
}


def check_runtime_env(value: Any) -> dict[str, Any]:
    """Check a ``runtime_env``; return the options ``env_vars`` and ``environment`` that it means.

    Raises TypeError and ValueError for what is no environment or names files that are not there,
    and NotImplementedError, which says what to do, for fields that haz can't honour.
    """
    if value is None:
        return {"env_vars": {}, "environment": b""}
    if not isinstance(value, dict):
        to_dict = getattr(value, "to_dict", None)
        if to_dict is None:
            raise TypeError(f"runtime_env must be a dictionary, not {shown(value)}")
        value = to_dict()
    for name, given in value.items():
        if name in _REFUSED and given is not None:
            raise NotImplementedError(
                f"runtime_env: workers of haz can't have {name!r}: {_REFUSED[name]}"
            )
        if name not in FIELDS and name not in _REFUSED:
            near = near_matches(str(name), FIELDS)
            raise ValueError(
                f"runtime_env has no field {name!r}{near} (it has {', '.join(FIELDS)})"
            )
    env_vars = check_str_dict('runtime_env["env_vars"]', value.get("env_vars") or {})
    for name, text in env_vars.items():
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(f'runtime_env["env_vars"]: {name!r}={shown(text)} can\'t be set')
    _strings("excludes", value.get("excludes") or [])
    rest: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        given = value.get(name)
        if given is not None:
            rest[name] = check(given)
    if set(rest) == {"config"}:
        rest.clear()
    return {"env_vars": env_vars, "environment": pack(rest)}


def pack(parts: Mapping[str, Any]) -> bytes:
    """Return bytes that are equal for equal parts."""
    if not parts:
        return b""
    # Version 2 does not write down which objects are the same.
    return marshal.dumps(tuple(sorted(parts.items())), 2)


def unpack(environment: bytes) -> dict[str, Any]:
    """Return the parts of a packed environment."""
    return dict(marshal.loads(environment)) if environment else {}


def merged(base: Mapping[str, Any], environment: bytes, env_vars: Mapping[str, str]) -> bytes:
    """Return the environment of a function with `environment` that code in `base` submits.

    `base` is what the process has, or the program was started with: fields that the function's own
    environment does not name are taken from there, and variables that it does not set.
    """
    own = unpack(environment)
    if not base and not own and not env_vars:
        return b""
    variables = {**base.get("env_vars", {}), **env_vars}
    parts = {**base, **own}
    parts.pop("env_vars", None)
    if variables:
        parts["env_vars"] = dict(sorted(variables.items()))
    return pack(parts)


def described(parts: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """Return a checked environment as users give it; `variables` are those of the program."""
    shown: dict[str, Any] = {}
    env_vars = {**variables, **parts.get("env_vars", {})}
    if env_vars:
        shown["env_vars"] = env_vars
    if "working_dir" in parts:
        shown["working_dir"] = parts["working_dir"][1]
    if "py_modules" in parts:
        shown["py_modules"] = [one[1] for one in parts["py_modules"]]
    hook = parts.get("worker_process_setup_hook")
    if hook is not None:
        from haz._core import serialize

        shown["worker_process_setup_hook"] = (
            hook if isinstance(hook, str) else serialize.load_function(hook)
        )
    pip = parts.get("pip")
    if pip is not None:
        shown["pip"] = {"packages": list(pip["lines"]), "pip_check": pip["check"]}
        if pip["version"]:
            shown["pip"]["pip_version"] = pip["version"]
        if pip["options"]:
            shown["pip"]["pip_install_options"] = list(pip["options"])
    if parts.get("config"):
        shown["config"] = {"setup_timeout_seconds": parts["config"]["timeout"]}
    return shown


def key_of(environment: bytes) -> str:
    """Return a short text that only an equal environment has; of the default one an empty one."""
    if not environment:
        return ""
    from hashlib import sha256

    return sha256(environment).hexdigest()[:32]


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"runtime_env[{name!r}] must be a list of strings, not {shown(value)}")
    return list(value)


def _path(name: str, value: Any) -> str:
    """Return an existing path as an absolute one."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"runtime_env[{name!r}]: a path is expected, not {shown(value)}")
    text = os.fspath(value)
    if not isinstance(text, str) or not text:
        raise TypeError(f"runtime_env[{name!r}]: a path is expected, not {shown(value)}")
    if "://" in text:
        raise ValueError(
            f"runtime_env[{name!r}]: haz takes files of this machine, and does not fetch {shown(text)}"
        )
    path = os.path.abspath(os.path.expanduser(text))
    if not os.path.exists(path):
        raise ValueError(f"runtime_env[{name!r}]: there is no {path}")
    return path


def _archive(name: str, path: str) -> tuple[str, str, str]:
    import hashlib
    import zipfile

    if not zipfile.is_zipfile(path):
        raise ValueError(f"runtime_env[{name!r}]: {path} is neither a folder nor a zip archive")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return "archive", path, digest.hexdigest()


def _working_dir(value: Any) -> tuple[str, ...]:
    path = _path("working_dir", value)
    return ("folder", path) if os.path.isdir(path) else _archive("working_dir", path)


def _py_modules(value: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"runtime_env['py_modules'] must be a list of folders, files or modules, not {shown(value)}"
        )
    return tuple(_py_module(one) for one in value)


def _py_module(value: Any) -> tuple[str, ...]:
    if isinstance(value, type(os)):
        places = list(getattr(value, "__path__", ())) or [getattr(value, "__file__", None)]
        if places[0] is None:
            raise ValueError(f"runtime_env['py_modules']: {shown(value)} is not made of files")
        value = places[0]
    path = _path("py_modules", value)
    if os.path.isdir(path) or path.endswith(".py"):
        return "module", path
    return _archive("py_modules", path)


def _hook(value: Any) -> str | bytes:
    if callable(value):
        from haz._core import serialize

        return serialize.dump_function(value)
    if not isinstance(value, str):
        raise TypeError(
            f"runtime_env['worker_process_setup_hook'] must be a function or the name of one, "
            f"'module.function', not {shown(value)}"
        )
    if "." not in value or not all(part.isidentifier() for part in value.split(".")):
        raise ValueError(
            f"runtime_env['worker_process_setup_hook'] must be 'module.function', not {shown(value)}"
        )
    return value


_PIP_FIELDS = ("packages", "pip_check", "pip_version", "pip_install_options")


def _pip(value: Any) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {"packages": value}
    for name in given:
        if name not in _PIP_FIELDS:
            raise ValueError(
                f"runtime_env['pip'] has no field {name!r}{near_matches(str(name), _PIP_FIELDS)} "
                f"(it has {', '.join(_PIP_FIELDS)})"
            )
    packages = given.get("packages")
    folder, path = os.getcwd(), ""
    if isinstance(packages, (str, os.PathLike)):
        path = _path("pip", packages)
        folder = os.path.dirname(path)
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    else:
        lines = _strings("pip", packages)
    pip_check = given.get("pip_check") or False
    if not isinstance(pip_check, bool):
        raise TypeError(
            f"runtime_env['pip']['pip_check'] must be True or False, not {shown(pip_check)}"
        )
    options = _strings("pip", given.get("pip_install_options") or [])
    return {
        "check": pip_check,
        "files": _states(folder, [*lines, *options]),
        "folder": folder,
        "lines": tuple(lines),
        "options": tuple(options),
        "path": path,
        "version": check_str("runtime_env['pip']['pip_version']", given.get("pip_version") or ""),
    }


def _states(folder: str, lines: list[str]) -> tuple[tuple[str, int, int], ...]:
    """Return the state of local files that requirements name: a changed wheel is another one."""
    states = []
    for word in " ".join(lines).replace("=", " ").split():
        try:
            found = os.stat(os.path.join(folder, word))
        except OSError:
            continue
        states.append((word, found.st_mtime_ns, found.st_size))
    return tuple(states)


def _config(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        to_dict = getattr(value, "to_dict", None)
        if to_dict is None:
            raise TypeError(f"runtime_env['config'] must be a dictionary, not {shown(value)}")
        value = to_dict()
    seconds = value.get("setup_timeout_seconds")
    if seconds is None:
        return {}
    return {"timeout": check_int("setup_timeout_seconds", seconds, -1, " (-1: no limit)")}


_CHECKS = {
    "working_dir": _working_dir,
    "py_modules": _py_modules,
    "worker_process_setup_hook": _hook,
    "pip": _pip,
    "config": _config,
}
