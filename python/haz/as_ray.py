"""Let ``import ray`` mean haz, for a program and the packages that it uses.

>>> import haz.as_ray
>>> haz.as_ray.install()
>>> import ray
>>> ray.get(ray.put(1))
1

Or, without a change of the program: ``python -m haz.as_ray program.py arguments``.

What is there is what haz has of Ray's core API (``ray.remote``, ``ray.util``, ``ray.exceptions`` and
so on), and what Ray's own modules have besides that means something here. Ray's libraries (Data,
Train, Tune, RLlib, Serve) are not part of that: importing them is an ImportError that says so; of
``ray.data``, from which packages import what they may never use, it is the use. Every other module
that is missing is an ImportError that says what to do instead.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn

__all__ = ["install", "is_installed"]

#: The version of Ray whose documentation haz follows: what packages look at.
RAY_VERSION = "2.60.0"

_LIBRARIES = {
    "air": "Ray AIR",
    "dag": "Ray's compiled graphs",
    "dashboard": "Ray's dashboard",
    "data": "Ray Data",
    "llm": "Ray LLM",
    "rllib": "RLlib",
    "serve": "Ray Serve",
    "train": "Ray Train",
    "tune": "Ray Tune",
    "workflow": "Ray Workflows",
}

#: Modules of Ray that have another name in haz.
_ALIASES = {
    "ray.cloudpickle": "cloudpickle",
    "ray.remote_function": "haz._core.remote",
    "ray.runtime_context": "haz._core.context",
    "ray.util.helpers": "haz.util.completion",
    "ray.util.serialization": "haz.util",
}


def _node_ip_address(address: str = "") -> str:
    """The address of this node: haz runs on one machine."""
    return "127.0.0.1"


#: Small modules made here: name to attributes.
_MADE: dict[str, dict[str, Any]] = {
    "ray.data": {"__getattr__": lambda name: _attribute_of_data(name)},
    "ray._private": {"__path__": []},
    "ray._private.services": {"get_node_ip_address": _node_ip_address},
    "ray._private.utils": {},
    "ray._raylet": {"__getattr__": lambda name: _attribute_of_core(name, "ray._raylet")},
    "ray.types": {"__getattr__": lambda name: _attribute_of_core(name, "ray.types")},
}


def _extra(name: str) -> dict[str, Any]:
    """Names that a module of Ray has beside those of haz's."""
    if name != "ray.util":
        return {}
    from haz._core.ray_names import MADE

    return {
        "get_node_ip_address": _node_ip_address,
        "accelerators": __import__("ray.util.accelerators", fromlist=["__name__"]),
        **MADE["ray.util.debug"],
    }


#: Names that mean something else in haz itself.
_OTHERWISE = frozenset(("cpp_function",))


def _attribute_of_ray(name: str) -> Any:
    """What ``ray.name`` is: a name of haz, or one that only Ray has."""
    import haz

    if name in ("ObjectID", "ObjectRef"):
        return haz.ObjectRef
    if name in _LIBRARIES and f"ray.{name}" not in _MADE:
        _refuse(f"ray.{name}")
    if name.startswith("__"):
        raise AttributeError(f"module 'ray' has no attribute {name!r}")
    try:
        found = None if name in _OTHERWISE else getattr(haz, name)
    except AttributeError:
        found = None
    if found is not None:
        if isinstance(found, ModuleType):  # it may have more names as a module of Ray
            return __import__(f"ray.{name}", fromlist=["__name__"])
        return found
    from haz._core.ray_names import TOP_LEVEL

    if name in TOP_LEVEL:
        return TOP_LEVEL[name]
    try:
        return __import__(f"ray.{name}", fromlist=["__name__"])
    except ModuleNotFoundError:
        raise AttributeError(
            f"module 'ray' has no attribute {name!r}: it stands for haz here (haz.as_ray), which "
            f"has not got that{_advice(f'ray.{name}', ': ')}"
        ) from None


def _names_of_ray() -> list[str]:
    import haz
    from haz._core.ray_names import TOP_LEVEL

    return sorted({*dir(haz), *TOP_LEVEL})


def _make_ray() -> ModuleType:
    # A plain module, so that it is pickled as one; it finds its attributes by PEP 562.
    module = ModuleType("ray", __doc__)
    module.__dict__.update(
        __path__=[],
        __version__=RAY_VERSION,
        __commit__="haz",
        __getattr__=_attribute_of_ray,
        __dir__=_names_of_ray,
    )
    return module


def _attribute_of_core(name: str, module: str) -> Any:
    """A type that Ray keeps in one of its inner modules."""
    if name in ("ObjectRef", "ObjectRefGenerator"):
        import haz

        return getattr(haz, name)
    raise AttributeError(f"module {module!r} has no attribute {name!r}")


def _attribute_of_data(name: str) -> Any:
    """A name of Ray Data: something that can be imported, and raises ImportError when it is used."""
    if name.startswith("__"):
        raise AttributeError(f"module 'ray.data' has no attribute {name!r}")

    class Missing:
        def __init__(self, *_args: object, **_kwargs: object) -> None:
            _refuse(f"ray.data.{name}")

    Missing.__name__ = Missing.__qualname__ = name
    return Missing


def _refuse(name: str) -> NoReturn:
    library = _LIBRARIES[name.split(".")[1]]
    raise ModuleNotFoundError(
        f"{name}: 'ray' stands for haz here (haz.as_ray), which has Ray's core API and not "
        f"{library}. For that run the program on Ray itself, on this machine or a cluster",
        name=name,
    )


def _advice(name: str, before: str = "") -> str:
    """What to do instead of a module that haz has not got, after `before`; "" where nobody knows."""
    from haz._core.ray_names import MISSING

    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        if ".".join(parts[:length]) in MISSING:
            return before + MISSING[".".join(parts[:length])]
    return ""


def _refuse_missing(name: str) -> NoReturn:
    """Raise for a module that haz has not got; say what to do, where that is known."""
    advice = _advice(name) or "the program needs Ray itself for it"
    raise ModuleNotFoundError(
        f"No module named {name!r}: 'ray' stands for haz here (haz.as_ray), which has not got it: "
        f"{advice}",
        name=name,
    )


def _made(name: str) -> dict[str, Any] | None:
    """Attributes of a module that is made here."""
    if name in _MADE:
        return _MADE[name]
    from haz._core.ray_names import MADE

    return MADE.get(name)


def _is_import() -> bool:
    """Whether the finder is asked for an import, and not by importlib.util.find_spec."""
    # This, the finder, importlib's loop over finders, and who wants to know.
    return sys._getframe(3).f_code.co_name == "_find_and_load_unlocked"


class _Finder(MetaPathFinder, Loader):
    """Finds ``ray`` and its modules among those of haz."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "ray":
            return ModuleSpec(fullname, self, is_package=True)
        if not fullname.startswith("ray."):
            return None
        if _made(fullname) is not None:
            return ModuleSpec(fullname, self, is_package=True)
        is_library = fullname.split(".")[1] in _LIBRARIES
        if not is_library and _home_of(fullname) is not None:
            return ModuleSpec(fullname, self, is_package=True)
        if _is_import():
            (_refuse if is_library else _refuse_missing)(fullname)
        return None

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Yield what ``importlib.metadata`` knows of ``ray``: packages look at its version."""
        from importlib.metadata import Distribution, DistributionFinder

        wanted = (context or DistributionFinder.Context()).name
        if wanted is not None and wanted.lower() != "ray":
            return

        class Ray(Distribution):
            def read_text(self, filename: str) -> str | None:
                if filename != "METADATA":
                    return None
                return f"Metadata-Version: 2.1\nName: ray\nVersion: {RAY_VERSION}\n"

            def locate_file(self, path: Any) -> Any:
                from pathlib import Path

                return Path(__file__).parent / path

        yield Ray()

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        name = spec.name
        if name == "ray":
            return _make_ray()
        home = _home_of(name)
        if home is None:
            module = ModuleType(name)
            module.__dict__.update(_made(name) or {})
            return module
        module = __import__(home, fromlist=["__name__"])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is None:
            return
        for name, value in _extra(spec.name).items():
            module.__dict__.setdefault(name, value)
        if spec.loader_state is not None:
            module.__spec__ = spec.loader_state  # the module stays what it is under its own name


def _home_of(name: str) -> str | None:
    """The module of haz that stands for a module of Ray."""
    if name in _ALIASES:
        return _ALIASES[name]
    home = "haz" + name[len("ray") :]
    if "._" in home:
        return None
    try:
        return home if find_spec(home) is not None else None
    except ModuleNotFoundError:
        return None


def is_installed() -> bool:
    """Whether `install` was called in this process."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


def install() -> None:
    """Let ``import ray`` import haz from now on, here and in tasks and actors. Idempotent.

    Raises
    ------
    RuntimeError
        If Ray itself is imported already, or haz was started before: its processes were then made
        without it.
    """
    if is_installed():
        return
    if "ray" in sys.modules:
        raise RuntimeError(
            "Ray itself is imported already: call haz.as_ray.install() before anything imports "
            "ray, or run the program by `python -m haz.as_ray program.py`"
        )
    from haz._core.runtime import runtime

    if runtime.engine is not None and not runtime.is_worker:
        raise RuntimeError("call haz.as_ray.install() before haz.init()")
    sys.meta_path.insert(0, _Finder())


def _main(arguments: list[str]) -> None:
    """Run a program as ``python program.py ...`` or ``python -m module ...`` would."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: python -m haz.as_ray program.py [argument ...]\n"
            "       python -m haz.as_ray -m module [argument ...]"
        )
        raise SystemExit(0 if arguments else 2)
    import os

    install()
    import __main__

    if arguments[0] == "-m":
        import runpy

        if len(arguments) < 2:
            raise SystemExit("python -m haz.as_ray -m: which module?")
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    sys.argv = arguments
    path = os.path.abspath(arguments[0])  # as the interpreter does it
    sys.path[0] = os.path.dirname(path)
    try:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
    except OSError as error:
        raise SystemExit(f"haz.as_ray: can't open {path}: {error.strerror}") from None
    # The program is __main__, also for the functions that it sends to other processes.
    namespace = __main__.__dict__
    builtins = namespace["__builtins__"]
    namespace.clear()
    namespace.update(__name__="__main__", __file__=path, __builtins__=builtins, __spec__=None)
    exec(code, namespace)


if __name__ == "__main__":
    from haz.as_ray import _main as main  # not of __main__, which becomes the program's

    main(sys.argv[1:])
