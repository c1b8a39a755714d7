"""haz: tasks, object refs and actors at close to the price of a function call.

>>> import haz
>>> @haz.remote
... def square(x):
...     return x * x
>>> haz.get([square.remote(i) for i in range(4)])
[0, 1, 4, 9]

Importing this package imports nothing else; each name is loaded when it is first used.
"""

import atexit as _atexit
import sys as _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from haz import actor as actor
    from haz import cpp as cpp
    from haz import exceptions as exceptions
    from haz import util as util
    from haz._core.actor_api import get_actor as get_actor
    from haz._core.actor_api import kill as kill
    from haz._core.api import available_resources as available_resources
    from haz._core.api import cancel as cancel
    from haz._core.api import cluster_resources as cluster_resources
    from haz._core.api import free as free
    from haz._core.api import get as get
    from haz._core.api import get_gpu_ids as get_gpu_ids
    from haz._core.api import get_runtime_context as get_runtime_context
    from haz._core.api import method as method
    from haz._core.api import nodes as nodes
    from haz._core.api import put as put
    from haz._core.api import wait as wait
    from haz._core.context import HazContext as HazContext
    from haz._core.context import RuntimeContext as RuntimeContext
    from haz._core.cpp_library import cpp_class as cpp_class
    from haz._core.cpp_library import cpp_function as cpp_function
    from haz._core.generator import DynamicObjectRefGenerator as DynamicObjectRefGenerator
    from haz._core.generator import ObjectRefGenerator as ObjectRefGenerator
    from haz._core.include import get_cmake_dir as get_cmake_dir
    from haz._core.include import get_include as get_include
    from haz._core.lifecycle import init as init
    from haz._core.lifecycle import is_initialized as is_initialized
    from haz._core.lifecycle import shutdown as shutdown
    from haz._core.refs import ObjectRef as ObjectRef
    from haz._core.remote import RemoteFunction as RemoteFunction
    from haz._core.remote import remote as remote
    from haz._core.timeline import timeline as timeline
    from haz._faces.mapping import map as map
    from haz.executor import Executor as Executor

__version__ = "0.1.0"

_HOME = {
    "DynamicObjectRefGenerator": "haz._core.generator",
    "Executor": "haz.executor",
    "HazContext": "haz._core.context",
    "ObjectRef": "haz._core.refs",
    "ObjectRefGenerator": "haz._core.generator",
    "RemoteFunction": "haz._core.remote",
    "RuntimeContext": "haz._core.context",
    "available_resources": "haz._core.api",
    "cancel": "haz._core.api",
    "cluster_resources": "haz._core.api",
    "cpp_class": "haz._core.cpp_library",
    "cpp_function": "haz._core.cpp_library",
    "free": "haz._core.api",
    "get": "haz._core.api",
    "get_actor": "haz._core.actor_api",
    "get_cmake_dir": "haz._core.include",
    "get_gpu_ids": "haz._core.api",
    "get_include": "haz._core.include",
    "get_runtime_context": "haz._core.api",
    "init": "haz._core.lifecycle",
    "is_initialized": "haz._core.lifecycle",
    "kill": "haz._core.actor_api",
    "map": "haz._faces.mapping",
    "method": "haz._core.api",
    "nodes": "haz._core.api",
    "put": "haz._core.api",
    "remote": "haz._core.remote",
    "shutdown": "haz._core.lifecycle",
    "timeline": "haz._core.timeline",
    "wait": "haz._core.api",
}

#: Public modules, which `haz.<name>` imports.
_MODULES = (
    *("actor", "as_ray", "cpp", "dask", "exceptions", "ipyparallel", "joblib", "multiprocessing"),
    *("testing", "util"),
)

__all__ = ["__version__", "actor", "exceptions", "util", *_HOME]


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is not None:
        if not _sys.meta_path:  # None: nothing can be imported any more
            return _after_the_end(name)
        value = getattr(__import__(home, fromlist=[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return __import__(f"haz.{name}", fromlist=["__name__"])
    raise AttributeError(f"module 'haz' has no attribute {name!r}")


def _after_the_end(name: str) -> object:
    """What stands for `name` in destructors that run when the interpreter is all but gone."""

    def ended(*_args: object, **_options: object) -> object:
        if name == "shutdown":
            return None
        if name == "is_initialized":
            return False
        raise RuntimeError(f"haz.{name}: haz has ended, since the interpreter is ending")

    return ended


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})


def _end() -> None:
    runtime = _sys.modules.get("haz._core.runtime")
    if runtime is not None:
        runtime.runtime.end()


# Handlers run in reverse order: those that the program registers from here on still can use haz.
_atexit.register(_end)
