"""Programs written for Ray, run with ``import ray`` as it stands."""

from __future__ import annotations

import pytest

from tests.e2e.programs import Program, run_program

PROGRAM = """
import sys
import ray
import ray.exceptions
from ray.util import ActorPool
from ray.util.queue import Queue

print("arguments", sys.argv[1:], __name__)
ray.init(num_cpus=2)

@ray.remote
def add_one(x):
    import ray as inner
    return inner.get(inner.put(x)) + 1

@ray.remote
class Counter:
    def __init__(self):
        self.count = 0
    def add(self):
        self.count += 1
        return self.count

@ray.remote
def fail():
    raise KeyError("lost")

print("tasks", ray.get([add_one.remote(i) for i in range(3)]))
counter = Counter.options(name="counter").remote()
print("actors", ray.get([counter.add.remote() for _ in range(2)]))
print("named", ray.get(ray.get_actor("counter").add.remote()))
try:
    ray.get(fail.remote())
except ray.exceptions.RayTaskError as error:
    print("error", isinstance(error, KeyError))
queue = Queue()
queue.put(5)
print("queue", queue.get())
pool = ActorPool([Counter.remote(), Counter.remote()])
print("pool", sorted(pool.map(lambda actor, _: actor.add.remote(), [1, 2])))
for name in ("tune", "train", "serve", "rllib", "air"):
    try:
        __import__("ray." + name)
    except ImportError as error:
        print("refused", name, "on Ray itself" in str(error))
from ray.data import from_items
try:
    from_items([1])
except ImportError as error:
    print("refused data", "Ray Data" in str(error))
print("is haz", ray.remote.__module__)
print("address", ray.util.get_node_ip_address())
"""

EXPECTED = [
    "tasks [1, 2, 3]",
    "actors [1, 2]",
    "named 3",
    "error True",
    "queue 5",
    "pool [1, 1]",
    *(f"refused {name} True" for name in ("tune", "train", "serve", "rllib", "air")),
    "refused data True",
    "is haz haz._core.remote",
    "address 127.0.0.1",
]


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def test_run_as_a_program(program):
    done = run_program("-m", "haz.as_ray", program, "a", "b")
    assert done.lines == ["arguments ['a', 'b'] __main__", *EXPECTED]


def test_run_as_a_module(program):
    done = run_program("-m", "haz.as_ray", "-m", "program", "c", cwd=program.parent)
    assert done.lines == ["arguments ['c'] __main__", *EXPECTED]


def test_installed_by_a_call(program):
    text = "import haz.as_ray\nhaz.as_ray.install()\nhaz.as_ray.install()\n" + PROGRAM
    program.write_text(text, encoding="utf-8")
    done = run_program(program)
    assert done.lines[1:] == EXPECTED


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("import haz; haz.init(num_cpus=1); import haz.as_ray", "before haz.init"),
        ("import sys; sys.modules['ray'] = sys; import haz.as_ray", "imported already"),
    ],
)
def test_too_late(lines, message):
    done = Program(["-c", lines + "; haz.as_ray.install()"]).finish(60)
    assert done.code == 1
    assert message in done.stderr


def test_a_program_that_is_not_there():
    done = Program(["-m", "haz.as_ray", "nowhere.py"]).finish(60)
    assert done.code == 1
    assert "nowhere.py" in done.stderr


MODULES = """
import ray
import ray.util.placement_group
import ray.util.joblib
import joblib
from ray.runtime_env import RuntimeEnv
from ray.util import placement_group, remove_placement_group
from ray.util.multiprocessing import Pool
from ray.util.placement_group import PlacementGroup, placement_group as make
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy,
)

ray.init(num_cpus=2)

@ray.remote
def where():
    return ray.get_runtime_context().get_placement_group_id()

group = ray.util.placement_group([{"CPU": 1}])
print("called", isinstance(group, PlacementGroup), group.wait(30))
inside = PlacementGroupSchedulingStrategy(placement_group=group)
print("inside", ray.get(where.options(scheduling_strategy=inside).remote()) == group.id.hex())
node = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
print("node", ray.get(where.options(scheduling_strategy=node).remote()))
remove_placement_group(group)
for function in (placement_group, make):
    group = function([{"CPU": 1}], strategy="SPREAD")
    print("ready", ray.get(group.ready()) == group)
    ray.util.remove_placement_group(group)
try:
    ray.get(where.options(placement_group=group).remote())
except ray.exceptions.TaskPlacementGroupRemoved as error:
    print("removed", type(error).__module__)

@ray.remote(runtime_env=RuntimeEnv(env_vars={"COLOUR": "red"}))
def colour():
    import os
    return os.environ["COLOUR"]

print("environment", ray.get(colour.remote()))
with Pool(2) as pool:
    print("pool", pool.map(abs, [-1, -2]))
ray.util.joblib.register_ray()
with joblib.parallel_backend("ray", n_jobs=2):
    print("joblib", joblib.Parallel()(joblib.delayed(abs)(n) for n in (-3, -4)))
"""


def test_modules_of_ray(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(MODULES, encoding="utf-8")
    assert run_program("-m", "haz.as_ray", path).lines == [
        "called True True",
        "inside True",
        "node None",
        "ready True",
        "ready True",
        "removed haz.exceptions",
        "environment red",
        "pool [1, 2]",
        "joblib [3, 4]",
    ]


NAMES = """
import importlib.util
import pickle
import sys
import warnings
import ray
import ray.job_config
from ray.types import ObjectRef
from ray.util.annotations import Deprecated, DeveloperAPI, PublicAPI
from ray.util.debug import log_once
from ray.util.helpers import as_completed
from ray.util.serialization import register_serializer

@PublicAPI(stability="beta")
def public(x):
    return x + 1

@DeveloperAPI
@Deprecated(message="old")
class Old:
    pass

print("annotations", public(1), Old.__name__)
print("log_once", log_once("a"), log_once("a"), log_once("b"))
config = ray.job_config.JobConfig(
    runtime_env={"env_vars": {"COLOUR": "blue"}}, ray_namespace="from the job"
)
context = ray.init(num_cpus=2, job_config=config)
print("probe", importlib.util.find_spec("ray.tune"), importlib.util.find_spec("ray.no_such"))
for module in (
    "ray.experimental.channel", "ray.autoscaler.sdk", "ray._private.worker",
    "ray.no_such",
):
    try:
        __import__(module)
    except ImportError as error:
        print("missing", error.name, "haz.as_ray" in str(error))
from importlib.metadata import version
from ray.util.accelerators import NVIDIA_A100
print("version", version("ray") == ray.__version__, NVIDIA_A100, ray.util.accelerators.NVIDIA_L4)
ray.util.disable_log_once_globally()
ray.internal.free([ray.put(1)])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ray.show_in_dashboard("nobody sees it")
print("dashboard", *(warning.message for warning in caught))
print("nil", ray.ObjectRef.nil().is_nil(), ray.put(1).is_nil(), ray.ObjectRef.size())
print("file", __file__ == sys.modules["os"].path.abspath(sys.argv[0]))
for name in ("autoscaler", "no_such"):
    try:
        getattr(ray, name)
    except AttributeError as error:
        print("attribute", name, str(error).count(": "))
try:
    import ray.util.collective
except ImportError as error:
    print("collective", "torch.distributed" in str(error))
for name in ("client", "java_function", "cpp_function", "cpp_actor_class"):
    try:
        getattr(ray, name)("any")
    except NotImplementedError as error:
        print("refused", name, str(error).startswith("ray." + name))

@ray.remote
def of_task():
    import os
    context = ray.get_runtime_context()
    assert context.task_id.hex() == context.get_task_id()
    assert context.current_placement_group_id.is_nil()
    return os.environ["COLOUR"], context.namespace, context.job_id, context.get_resource_ids()

from ray.experimental import tqdm_ray
from ray.util.state import list_actors, list_tasks, summarize_tasks
from ray.util.state import get_actor as actor_state
print("state", list_actors(), list_tasks(), summarize_tasks()["cluster"]["total_tasks"])
print("timeline", ray.timeline())

@ray.remote
class Actor:
    def ids(self):
        context = ray.get_runtime_context()
        return context.actor_id, context.get_actor_id(), context.was_current_actor_reconstructed

colour, namespace, job, resources = ray.get(of_task.remote())
context = ray.get_runtime_context()
print("job", colour, namespace, resources)
print("ids", job == context.job_id == ray.JobID.from_hex(context.get_job_id()), job != ray.JobID.nil())
assert isinstance(context.node_id, ray.NodeID) and isinstance(context.worker_id, ray.WorkerID)
actor_id, text, restarted = ray.get(Actor.remote().ids.remote())
print("actor", isinstance(actor_id, ray.ActorID), actor_id.hex() == text, restarted)
print("pickled", pickle.loads(pickle.dumps(actor_id)) == actor_id, len({actor_id, actor_id}))
print("refs", isinstance(ray.put(1), ObjectRef), isinstance(ray.put(1), ray.ObjectID))
for function in (lambda: context.task_id, lambda: context.actor_id):
    try:
        function()
    except RuntimeError as error:
        print("driver", error)
"""


def test_names_of_ray(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(NAMES, encoding="utf-8")
    assert run_program("-m", "haz.as_ray", path).lines == [
        "annotations 2 Old",
        "log_once True False True",
        "probe None None",
        "missing ray.experimental.channel True",
        "missing ray.autoscaler True",
        "missing ray._private.worker True",
        "missing ray.no_such True",
        "version True A100 L4",
        "dashboard haz has no dashboard, which ray.show_in_dashboard is for",
        "nil True False 16",
        "file True",
        "attribute autoscaler 3",
        "attribute no_such 1",
        "collective True",
        *(
            f"refused {name} True"
            for name in ("client", "java_function", "cpp_function", "cpp_actor_class")
        ),
        "state [] [] 0",
        "timeline []",
        "job blue from the job {'CPU': [(0, 1.0)]}",
        "ids True True",
        "actor True True False",
        "pickled True 1",
        "refs True True",
        "driver only a task has a task_id, and this is the driver",
        "driver only an actor has an actor_id, and none runs here",
    ]


DETACHED = """
import sys
import ray
from ray.util.placement_group import placement_group
ray.init(num_cpus=2, engine=sys.argv[1])

@ray.remote
class Counter:
    def __init__(self):
        self.count = 0
    def add(self):
        self.count += 1
        return self.count

@ray.remote
def make():
    counter = Counter.options(name="counter", lifetime="detached").remote()
    return ray.get(counter.add.remote())

print("made", ray.get(make.remote()))
print("found", ray.get(ray.get_actor("counter").add.remote()))
print("again", ray.get(ray.get_actor("counter").add.remote()))
ray.kill(ray.get_actor("counter"))
group = placement_group([{"CPU": 1}], lifetime="detached")
print("group", group.wait(30))
"""


@pytest.mark.parametrize("engine", ["native", "inline"])
def test_detached_actors_live_as_long_as_what_the_program_has_started(tmp_path, engine):
    path = tmp_path / "program.py"
    path.write_text(DETACHED, encoding="utf-8")
    done = run_program("-m", "haz.as_ray", path, engine)
    assert done.lines == ["made 1", "found 2", "again 3", "group True"]
