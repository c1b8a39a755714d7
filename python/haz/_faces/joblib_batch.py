"""What runs in workers for `haz.joblib`: a batch of calls, without joblib where they do without.

To import joblib, and NumPy by it, takes longer than all else of a program's first batches.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from haz._core.api import get
from haz._core.process_state import plain_output
from haz._faces.private import writable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, TypeAlias

    from haz._core.refs import ObjectRef

    #: What tells an initializer and its arguments from others; and these, in the store.
    Setup: TypeAlias = tuple[bytes, list[ObjectRef[Any]]]

__all__ = ["run_batch", "run_calls"]

_PARALLEL = "joblib.parallel"
#: Smaller arrays are the call's own, and writable, as with joblib's own backend.
_LEAST_SHARED_BYTES = 1 << 20
#: Of the initializer that this process was set up by last, and the variables that it has set: a worker's
#: environment is after each task what it was before.
_done = b""
_variables: dict[str, str] = {}


def run_batch(batch: Callable[[], Any], threads: int | None, setup: Setup | None) -> Any:
    """Run what joblib has made; with so many threads of its libraries, if that is told."""
    _offer(sys.modules[_PARALLEL])
    with plain_output(), _limits(threads):
        _set_up(setup)
        items = getattr(batch, "items", None)
        if type(items) is list:
            writable(items, _LEAST_SHARED_BYTES)
        return batch()


def run_calls(
    calls: list[tuple[Any, Any, Any]],
    backend: str,
    nesting_level: int,
    n_jobs: int | None,
    threads: int | None,
    setup: Setup | None,
) -> list[Any]:
    """Run the calls of joblib's ``BatchedCalls``; `backend` is the class for those inside of them."""
    with plain_output(), _limits(threads), _Nested(backend, nesting_level, n_jobs):
        _set_up(setup)
        own = writable(calls, _LEAST_SHARED_BYTES)
        return [function(*args, **kwargs) for function, args, kwargs in own]


def _set_up(setup: Setup | None) -> None:
    global _done, _variables
    if setup is None:
        return
    if setup[0] == _done:
        os.environ.update(_variables)
        return
    _done = b""
    initializer, initargs = get(setup[1][0])
    before = dict(os.environ)
    initializer(*initargs)
    _variables = dict(os.environ.items() - before.items())
    _done = setup[0]


def _offer(module: Any) -> None:
    """Let "haz" be the name of a backend here too, as those of joblib's own backends are."""
    module.BACKENDS.setdefault("haz", _make_backend)


def _make_backend(**options: Any) -> Any:
    from haz.joblib import HazBackend

    return HazBackend(**options)


def _limits(threads: int | None) -> Any:
    if threads is None:
        return ExitStack()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(threads)


class _Nested:
    """The configuration for ``Parallel`` inside of a block: set now, or when joblib is imported."""

    def __init__(self, backend: str, nesting_level: int, n_jobs: int | None) -> None:
        self._backend = backend
        self._nesting_level = nesting_level
        self._n_jobs = n_jobs
        self._config: Any = None

    def __enter__(self) -> None:
        module = sys.modules.get(_PARALLEL)
        if module is None:
            sys.meta_path.insert(0, self)
        else:
            self._set(module)

    def __exit__(self, *_: object) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if self._config is not None:
            self._config.unregister()

    def _set(self, module: Any) -> None:
        _offer(module)
        backend = getattr(module, self._backend)(nesting_level=self._nesting_level)
        self._config = module.parallel_config(backend=backend, n_jobs=self._n_jobs)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As a finder: of joblib's module, and nothing else."""
        if name != _PARALLEL:
            return None
        sys.meta_path.remove(self)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None:
            self._set_after(spec.loader)
        return spec

    def _set_after(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._set(module)

        loader.exec_module = exec_module
