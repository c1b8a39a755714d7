"""`import haz` is light: what it loads is checked, not how long that takes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.engines import HAS_NATIVE

HEAVY = {
    "asyncio",
    "cloudpickle",
    "collections",
    "concurrent.futures",
    "dataclasses",
    "inspect",
    "logging",
    "multiprocessing",
    "numpy",
    "pickle",
    "re",
    "subprocess",
    "threading",
    "typing",
    "weakref",
}


def modules_after(code):
    """Names of the modules that `code` has loaded, in an interpreter that starts with few."""
    program = (
        "import sys; before = set(sys.modules); sys.path[:] = " + repr(sys.path) + "\n"
        f"{code}\nprint(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_import_loads_nothing_else():
    assert modules_after("import haz") - {"atexit"} == {"haz"}  # a builtin module


@pytest.mark.parametrize(
    "code",
    [
        "import haz; haz.remote, haz.get, haz.init, haz.ObjectRef",
        "import haz\n@haz.remote\ndef f(x): return x",
        "import haz\n@haz.remote(num_cpus=2, resources={'a': 1})\ndef f(x): return x",
        "import haz; haz.exceptions.TaskError",
        "import haz._core.runtime, haz._core.context, haz.engines.base, haz._core.returns",
    ],
)
def test_the_way_to_the_first_task_is_light(code):
    loaded = modules_after(code)
    assert not loaded & HEAVY
    assert all(name.partition(".")[0] in ("haz", *sys.stdlib_module_names) for name in loaded)


@pytest.mark.skipif(not HAS_NATIVE, reason="needs the native engine")
def test_first_worker_loads_no_pickle():
    loaded = modules_after("import haz._core.zygote, haz._core.worker_main")
    assert not loaded & {*HEAVY, "_pickle", "haz._core.serialize"}


def test_public_names():
    import haz

    assert set(haz.__all__) <= set(dir(haz))
    for name in haz.__all__:
        assert getattr(haz, name) is not None
    assert haz.exceptions.TaskError
    assert haz.testing.leak_check
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        haz.nothing


def test_star_import():
    namespace = {}
    exec("from haz import *", namespace)
    assert namespace["remote"]


def test_package_has_types():
    from pathlib import Path

    import haz

    assert (Path(haz.__file__).parent / "py.typed").exists()
