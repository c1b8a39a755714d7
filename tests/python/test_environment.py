"""What a runtime_env may be, without an engine."""

from __future__ import annotations

import os
import sys

import haz
import pytest
from haz._core.environment import check_runtime_env, key_of, merged, pack, unpack
from haz.runtime_env import RuntimeEnv


def packed(**fields):
    return check_runtime_env(fields)["environment"]


def test_variables_alone_are_no_environment():
    assert check_runtime_env({"env_vars": {"A": "b"}}) == {
        "env_vars": {"A": "b"},
        "environment": b"",
    }
    assert packed(config={"setup_timeout_seconds": 5}, excludes=["a"], conda=None) == b""
    assert check_runtime_env(None) == check_runtime_env({})


def test_equal_ones_are_equal_bytes(tmp_path):
    one = packed(working_dir=str(tmp_path), py_modules=[str(tmp_path)])
    other = packed(py_modules=[tmp_path], working_dir=os.path.join(tmp_path, "x", ".."))
    assert one == other
    assert key_of(one) == key_of(other) != key_of(packed(working_dir=str(tmp_path)))
    assert key_of(b"") == ""


def test_a_changed_wheel_is_another_environment(tmp_path):
    wheel = tmp_path / "a.whl"
    wheel.write_text("1")
    before = packed(pip=[str(wheel)])
    wheel.write_text("22")
    assert packed(pip=[str(wheel)]) != before


def test_merged():
    base = {"working_dir": ("folder", "/a"), "pip": 1, "env_vars": {"A": "1", "B": "2"}}
    both = unpack(merged(base, pack({"working_dir": ("folder", "/b")}), {"B": "3"}))
    assert both == {
        "working_dir": ("folder", "/b"),
        "pip": 1,
        "env_vars": {"A": "1", "B": "3"},
    }
    assert merged({}, b"", {}) == b""
    assert unpack(merged({}, b"", {"A": "1"})) == {"env_vars": {"A": "1"}}


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        ({"workingdir": "."}, ValueError, "did you mean 'working_dir'"),
        ({"conda": "base"}, NotImplementedError, "'conda'.*list packages in 'pip'"),
        ({"uv": ["x"]}, NotImplementedError, "pip"),
        ({"container": {"image": "x"}}, NotImplementedError, "container"),
        ({"image_uri": "x"}, NotImplementedError, "container"),
        ({"working_dir": "/no/such/folder"}, ValueError, "/no/such/folder"),
        ({"working_dir": "s3://bucket/a.zip"}, ValueError, "s3://bucket"),
        ({"working_dir": __file__}, ValueError, "neither a folder nor a zip"),
        ({"working_dir": 3}, TypeError, "a path"),
        ({"py_modules": "x"}, TypeError, "list"),
        ({"py_modules": [sys]}, ValueError, "not made of files"),
        ({"worker_process_setup_hook": 3}, TypeError, "module.function"),
        ({"worker_process_setup_hook": "hook"}, ValueError, "module.function"),
        ({"pip": {"package": ["x"]}}, ValueError, "did you mean 'packages'"),
        ({"pip": "/no/such/file"}, ValueError, "/no/such/file"),
        ({"pip": [3]}, TypeError, "list of strings"),
        ({"pip": {"packages": [], "pip_check": 1}}, TypeError, "pip_check"),
        ({"excludes": "x"}, TypeError, "excludes"),
        ({"config": 3}, TypeError, "config"),
        ({"env_vars": {"A=B": "x"}}, ValueError, "can't be set"),
    ],
)
def test_bad_ones_are_refused(fields, error, told):
    with pytest.raises(error, match=told):
        check_runtime_env(fields)
    with pytest.raises(error, match=told):
        RuntimeEnv(**fields)
    with pytest.raises(error, match=told):
        haz.remote(runtime_env=fields)(lambda: 1)
    with pytest.raises(error, match=told):
        haz.init(runtime_env=fields)
    assert not haz.is_initialized()


def test_runtime_env_is_a_dictionary(tmp_path):
    env = RuntimeEnv(working_dir=str(tmp_path), env_vars={"A": "b"})
    assert env == {"working_dir": str(tmp_path), "env_vars": {"A": "b"}} == env.to_dict()
    assert check_runtime_env(env)["env_vars"] == {"A": "b"}
