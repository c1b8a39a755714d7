"""Runtime environments of programs, tasks and actors: on every engine."""

from __future__ import annotations

import os
import pickle
import sys
import zipfile

import haz
import pytest
from haz.exceptions import ActorDiedError, RuntimeEnvSetupError
from haz.runtime_env import RuntimeEnv, RuntimeEnvConfig


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """What environments keep on disk goes to a folder of the test."""
    monkeypatch.setenv("HAZ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _modules_are_forgotten():
    """The inline engine imports what lies in an environment into this process."""
    before, path = set(sys.modules), list(sys.path)
    yield
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name.startswith("haz_env_"):
            del sys.modules[name]


@pytest.fixture
def project(tmp_path):
    """A folder with a module in it, and a file beside."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "haz_env_project.py").write_text("def name():\n    return 'project'\n")
    (folder / "data.txt").write_text("beside the module")
    return folder


@haz.remote
def look(module="haz_env_project"):
    with open("data.txt") as file:
        return os.getcwd(), __import__(module).name(), file.read()


@haz.remote
def where():
    return os.getcwd(), os.getpid(), list(sys.path)


def test_working_dir(engine, project):
    cwd, name, text = haz.get(look.options(runtime_env={"working_dir": str(project)}).remote())
    assert (cwd, name, text) == (str(project), "project", "beside the module")
    assert haz.get(where.remote())[0] == os.getcwd()
    special = where.options(runtime_env={"working_dir": str(project), "excludes": ["*.txt"]})
    assert haz.get(special.remote())[2][0] == str(project)


def test_workers_of_environments_do_not_mix(engine, project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    kinds = [
        where,
        where.options(runtime_env={"working_dir": str(project)}),
        where.options(runtime_env={"working_dir": str(other)}),
    ]
    seen = haz.get([kind.remote() for _ in range(15) for kind in kinds])
    folders = [os.getcwd(), str(project), str(other)]
    assert [one[0] for one in seen] == folders * 15
    if engine == "native":
        of_folder = {folder: {one[1] for one in seen if one[0] == folder} for folder in folders}
        pids = [pid for of_one in of_folder.values() for pid in of_one]
        assert len(pids) == len(set(pids))


def test_working_dir_from_a_zip(engine, project, tmp_path, cache):
    archive = tmp_path / "project.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("haz_env_project.py", "data.txt"):
            file.write(project / name, name)
    zipped = look.options(runtime_env={"working_dir": str(archive)})
    cwd, name, text = haz.get(zipped.remote())
    assert (name, text) == ("project", "beside the module")
    assert cwd.startswith(str(cache))


def test_py_modules(engine, tmp_path):
    (tmp_path / "haz_env_beside.py").write_text("")
    package = tmp_path / "haz_env_package"
    package.mkdir()
    (package / "__init__.py").write_text("from haz_env_package.inner import value\n")
    (package / "inner.py").write_text("value = 7\n")
    single = tmp_path / "single" / "haz_env_single.py"
    single.parent.mkdir()
    single.write_text("value = 8\n")
    wheel = tmp_path / "haz_env_wheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("haz_env_wheel.py", "value = 9\n")

    @haz.remote(runtime_env={"py_modules": [str(package), single, str(wheel)]})
    def values():
        import importlib.util

        import haz_env_package
        import haz_env_single
        import haz_env_wheel

        beside = importlib.util.find_spec("haz_env_beside")
        return haz_env_package.value, haz_env_single.value, haz_env_wheel.value, beside

    assert haz.get(values.remote()) == (7, 8, 9, None)


def test_a_module_object_as_py_module(engine, tmp_path, monkeypatch):
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "haz_env_object.py").write_text("value = 4\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(place))
        import haz_env_object
    env = {"py_modules": [haz_env_object]}

    @haz.remote(runtime_env=env)
    def value():
        import haz_env_object

        return haz_env_object.value

    assert haz.get(value.remote()) == 4


def test_the_hook_is_called_once_in_a_worker(engine, tally, project):
    def hook():
        tally.add()
        os.environ["HAZ_ENV_HOOK"] = "was here"

    @haz.remote(runtime_env={"worker_process_setup_hook": hook, "env_vars": {"A": "b"}})
    def f():
        return os.getpid()

    pids = set(haz.get([f.remote() for _ in range(10)]))
    assert tally.count() == len(pids)
    os.environ.pop("HAZ_ENV_HOOK", None)


def test_the_hook_by_name(engine, project):
    (project / "haz_env_hook.py").write_text("calls = []\ndef hook():\n    calls.append(1)\n")

    @haz.remote(
        runtime_env={
            "working_dir": str(project),
            "worker_process_setup_hook": "haz_env_hook.hook",
        }
    )
    def f():
        import haz_env_hook

        return haz_env_hook.calls

    assert haz.get(f.remote()) == [1]


@pytest.mark.parametrize("as_name", [False, True])
def test_a_hook_that_fails(engine, as_name):
    def hook():
        raise KeyError("no such thing")

    env = {"worker_process_setup_hook": "haz_env_missing.hook" if as_name else hook}
    folder = os.getcwd()

    @haz.remote(runtime_env=env)
    def f():
        return 1

    told = "haz_env_missing" if as_name else "no such thing"
    for _ in range(2):
        with pytest.raises(RuntimeEnvSetupError, match=told):
            haz.get(f.remote())
    assert haz.get(where.remote())[0] == folder


def test_a_working_dir_that_is_gone_meanwhile(engine, tmp_path):
    folder = tmp_path / "soon gone"
    folder.mkdir()
    special = where.options(runtime_env={"working_dir": str(folder)})
    folder.rmdir()
    with pytest.raises(RuntimeEnvSetupError, match="soon gone"):
        haz.get(special.remote())


def test_of_the_program(engine_name, project, tally):
    def hook():
        tally.add()

    haz.init(
        engine=engine_name,
        num_cpus=2,
        runtime_env=RuntimeEnv(
            working_dir=str(project),
            worker_process_setup_hook=hook,
            env_vars={"HAZ_ENV_OF": "program", "HAZ_ENV_ONLY": "program"},
            config=RuntimeEnvConfig(setup_timeout_seconds=60),
        ),
    )

    @haz.remote
    def variables():
        return os.getcwd(), os.environ.get("HAZ_ENV_OF"), os.environ.get("HAZ_ENV_ONLY")

    @haz.remote
    def nested():
        return haz.get(variables.remote())

    assert haz.get(variables.remote()) == (str(project), "program", "program")
    assert haz.get(nested.remote()) == (str(project), "program", "program")
    own = variables.options(runtime_env={"env_vars": {"HAZ_ENV_OF": "task"}})
    assert haz.get(own.remote()) == (str(project), "task", "program")
    assert tally.count() >= 1


def test_children_have_that_of_their_parent(engine, project):
    @haz.remote(runtime_env={"working_dir": str(project)})
    def parent():
        return haz.get(where.remote())[0]

    assert haz.get(parent.remote()) == str(project)


def _variables():
    return [os.environ.get(f"HAZ_ENV_{name}") for name in "ABC"]


@haz.remote
def variables():
    return _variables(), haz.get_runtime_context().runtime_env


@haz.remote
class Holder:
    def variables(self):
        return _variables(), haz.get_runtime_context().runtime_env

    def of_child(self):
        return haz.get(variables.remote())


def _env(**given):
    return {"env_vars": {f"HAZ_ENV_{name}": value for name, value in given.items()}}


def test_children_inherit_variables(engine):
    @haz.remote
    def parent():
        holder = Holder.remote()
        own = Holder.options(runtime_env=_env(C="child")).remote()
        refs = [
            variables.remote(),
            variables.options(runtime_env=_env(B="child", C="child")).remote(),
            holder.variables.remote(),
            holder.of_child.remote(),
            own.variables.remote(),
            own.of_child.remote(),
        ]
        return haz.get(refs)

    found = haz.get(parent.options(runtime_env=_env(A="parent", B="parent")).remote())
    inherited = (["parent", "parent", None], _env(A="parent", B="parent"))
    assert found[0] == found[2] == found[3] == inherited
    assert found[1] == (["parent", "child", "child"], _env(A="parent", B="child", C="child"))
    assert found[4] == found[5]
    assert found[4] == (["parent", "parent", "child"], _env(A="parent", B="parent", C="child"))
    assert haz.get(variables.remote()) == ([None] * 3, {})
    assert _variables() == [None] * 3


def test_what_the_context_shows(engine, project):
    import json

    def hook():
        pass

    @haz.remote
    def shown():
        context = haz.get_runtime_context()
        return context.runtime_env, json.loads(context.get_runtime_env_string())

    given = {"working_dir": str(project), "worker_process_setup_hook": hook, **_env(A="1")}
    env, text = haz.get(shown.options(runtime_env=given).remote())
    assert callable(env.pop("worker_process_setup_hook"))
    assert env == {"working_dir": str(project), **_env(A="1")}
    assert text.pop("worker_process_setup_hook").endswith("hook")
    assert text == env
    assert haz.get_runtime_context().runtime_env == {}


def test_actors(engine, project):
    @haz.remote
    class Actor:
        def look(self):
            with open("data.txt") as file:
                return os.getcwd(), file.read(), os.environ.get("HAZ_ENV_ACTOR")

    env = {"working_dir": str(project), "env_vars": {"HAZ_ENV_ACTOR": "set"}}
    actor = Actor.options(runtime_env=env).remote()
    for _ in range(2):
        assert haz.get(actor.look.remote()) == (str(project), "beside the module", "set")
    assert haz.get(where.remote())[0] == os.getcwd()


def test_an_actor_whose_environment_fails(engine):
    def hook():
        raise KeyError("no such thing")

    @haz.remote(runtime_env={"worker_process_setup_hook": hook})
    class Actor:
        def f(self):
            return 1

    with pytest.raises(RuntimeEnvSetupError, match="runtime environment") as caught:
        haz.get(Actor.options(name="unlucky").remote().f.remote())
    assert isinstance(caught.value, ActorDiedError)
    assert caught.value.reason == "constructor"
    assert "actor Actor 'unlucky'" in str(caught.value)
    assert "no such thing" in str(caught.value)  # what the hook has raised, with its traceback
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


def test_tasks_of_environments_that_wait_for_each_other(engine, project):
    @haz.remote(runtime_env={"working_dir": str(project)})
    def inner(x):
        return x + 1

    @haz.remote
    def outer(x):
        return haz.get(inner.remote(x))

    @haz.remote(runtime_env={"env_vars": {"A": "b"}, "working_dir": os.getcwd()})
    def outermost(x):
        return haz.get(outer.options(runtime_env={"working_dir": str(project)}).remote(x))

    assert haz.get([outermost.remote(x) for x in range(30)]) == list(range(1, 31))


# ---- pip -----------------------------------------------------------------------------------------


def _make_wheel(folder, name, version, requires=()):
    """Write a wheel with one module, `name`, that has `version`."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"version = {version!r}\n")
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        file.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        file.writestr(f"{info}/RECORD", "")
    return path


@haz.remote
def installed():
    import haz_env_dist

    return haz_env_dist.version, os.environ["VIRTUAL_ENV"]


def test_pip(engine, tmp_path, cache):
    first = _make_wheel(tmp_path, "haz_env_dist", "1.0")
    offline = {"pip_install_options": ["--no-index"]}
    env = {"pip": {"packages": [str(first)], **offline}}
    version, prefix = haz.get(installed.options(runtime_env=env).remote())
    assert version == "1.0"
    assert prefix.startswith(str(cache))
    sys.modules.pop("haz_env_dist", None)
    made = os.stat(prefix).st_ctime_ns
    again = haz.get([installed.options(runtime_env=env).remote() for _ in range(3)])
    assert again == [("1.0", prefix)] * 3
    assert os.stat(prefix).st_ctime_ns == made
    with pytest.raises(haz.exceptions.TaskError, match="haz_env_dist"):
        sys.modules.pop("haz_env_dist", None)
        haz.get(installed.remote())


def test_pip_from_a_requirements_file(engine, tmp_path):
    _make_wheel(tmp_path, "haz_env_dist", "2.0")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("--no-index\n--find-links .\nhaz_env_dist==2.0\n")
    version, _ = haz.get(installed.options(runtime_env={"pip": str(wanted)}).remote())
    assert version == "2.0"


def test_pip_that_fails_tells_its_output(engine, tmp_path, cache):
    env = {"pip": {"packages": ["haz_env_nowhere"], "pip_install_options": ["--no-index"]}}
    with pytest.raises(RuntimeEnvSetupError, match="No matching distribution") as caught:
        haz.get(installed.options(runtime_env=env).remote())
    assert "haz_env_nowhere" in str(caught.value)
    assert not list(cache.glob("pip/*/.haz_complete"))


def test_pip_check(engine, tmp_path):
    wheel = _make_wheel(tmp_path, "haz_env_dist", "3.0", ["haz-env-missing"])
    options = ["--no-index", "--no-deps"]
    env = {"pip": {"packages": [str(wheel)], "pip_install_options": options, "pip_check": True}}
    with pytest.raises(RuntimeEnvSetupError, match="haz-env-missing"):
        haz.get(installed.options(runtime_env=env).remote())
