"""Follow one task through the code: ``make walk``, or ``python -m haz.cli.walk program.py``.

Runs a program, and shows each file that its last task passed through, with the times at which the
node wrote the passage into its story. ``--trip NAME`` follows something else: the end of the last
ref, a function that raises, a worker that is killed.

The tables below are the one list of the stops. A test checks that each file and symbol is there,
and that each event happens; ``docs/walk.md`` tells the same in prose.
"""

from __future__ import annotations

import argparse
import gc
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import haz

#: Names of the story's events, by their numbers from 1: the StoryEvent of src/sched/story.h.
EVENTS = (
    *("TaskSubmitted", "TaskAssigned", "TaskTakenBack", "TaskBlocked"),
    *("TaskResumed", "TaskFinished", "TaskFailed", "TaskRetried", "TaskCancelled"),
    *("TaskYielded", "ObjectPut", "ObjectFreed", "WorkerStarted", "WorkerDied"),
    *("ActorAlive", "ActorRestarting", "ActorDied"),
)


@dataclass(frozen=True)
class Stop:
    """One place that a task passes. `event` is what the story then says, if it says anything."""

    process: str
    file: str
    symbol: str
    what: str
    event: str = ""


@dataclass(frozen=True)
class Passage:
    """One record of the story: what happened, when (from the first one on), on which worker."""

    event: str
    at_us: float
    worker: int


WALK = (
    Stop(
        "driver",
        "python/haz/_core/remote.py",
        "RemoteFunction.remote",
        "finds the engine and binds to it; later calls go straight to the submitter",
    ),
    Stop(
        "driver",
        "python/haz/engines/native.py",
        "NativeEngine.bind_task",
        "once per function: pickles it, and registers code and options with the node",
    ),
    Stop(
        "driver",
        "bindings/submitter.cpp",
        "submit",
        "checks the call against the signature, makes the id, returns the ref",
    ),
    Stop(
        "driver",
        "bindings/arguments.cpp",
        "ArgumentWriter::encode",
        "writes the arguments as bytes; one above 8 KiB becomes an object in the arena",
    ),
    Stop(
        "driver",
        "src/node/node.cpp",
        "Node::submit",
        "takes the node's lock (a task that submits sends its node a message instead)",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_tasks.cpp",
        "Scheduler::submit",
        "makes the task and the objects it will return; queues it once its arguments are there",
        "TaskSubmitted",
    ),
    Stop(
        "driver",
        "src/node/actions.cpp",
        "Node::start_worker",
        "no worker is idle: asks the zygote for one",
    ),
    Stop(
        "zygote",
        "src/node/zygote_loop.cpp",
        "Zygote::fork_worker",
        "forks itself, an interpreter that has imported haz already",
    ),
    Stop(
        "worker",
        "python/haz/_core/worker_main.py",
        "run",
        "maps the arena, joins the node, says that it is ready",
        "WorkerStarted",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_dispatch.cpp",
        "Scheduler::assign",
        "gives the task to a worker; its resources are taken",
        "TaskAssigned",
    ),
    Stop(
        "driver",
        "src/queue/claim_ring.h",
        "ClaimRingWriter::push",
        "publishes the command in the worker's ring; its doorbell is rung if it sleeps",
    ),
    Stop(
        "worker",
        "src/client/ring_client_tasks.cpp",
        "RingClient::next_task",
        "claims the command; from now on nobody can take it back",
    ),
    Stop(
        "worker",
        "bindings/worker_loop.cpp",
        "WorkerLoop::execute",
        "loads the function at its first use, and calls it",
    ),
    Stop(
        "worker",
        "bindings/arguments.cpp",
        "decode_arguments",
        "makes the arguments: big arrays are views of the arena, pinned and read-only",
    ),
    Stop(
        "worker",
        "bindings/values.cpp",
        "store_encoded",
        "writes the result as bytes: up to 1 KiB to go with the message, more into the arena",
    ),
    Stop(
        "worker",
        "src/client/ring_client_tasks.cpp",
        "RingClient::finish",
        "sends one record, and wakes the driver if it wants to hear of it",
    ),
    Stop(
        "driver",
        "src/node/inbox.cpp",
        "Node::on_finished",
        "checks every number in the record: a worker is not trusted",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_tasks.cpp",
        "Scheduler::finished",
        "the objects are ready; tasks and requests that waited for them go on",
        "TaskFinished",
    ),
    Stop(
        "driver",
        "src/node/pump.cpp",
        "Node::get",
        "the thread that has waited; while it waits it takes in what workers send, as above",
    ),
    Stop(
        "driver",
        "bindings/bind_runtime.cpp",
        "get",
        "makes the value: a big array is a view of the arena, which it pins",
    ),
)

LAST_REF = (
    Stop("driver", "bindings/object_ref.cpp", "dealloc_ref", "the last ref is destroyed"),
    Stop(
        "driver",
        "src/queue/drop_list.h",
        "DropList::append",
        "notes the id without a lock: a destructor may run anywhere",
    ),
    Stop(
        "driver",
        "src/node/pump.cpp",
        "Node::drain_drops",
        "at the next visit to the node takes what was noted",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_objects.cpp",
        "Scheduler::drop_ref",
        "counts down; at zero the object goes, and what its value refers to is counted down",
        "ObjectFreed",
    ),
    Stop(
        "driver",
        "src/store/value_store.cpp",
        "ValueStore::free",
        "the memory is free again, and stays warm for the next value",
    ),
)

RAISES = (
    Stop(
        "worker",
        "bindings/worker_results.cpp",
        "WorkerLoop::add_exception",
        "the call gave no value: fetches the exception",
    ),
    Stop(
        "worker",
        "python/haz/_core/errors.py",
        "pack_exception",
        "makes a dictionary of it: type, message, traceback, the pickled exception",
    ),
    Stop(
        "worker",
        "src/client/ring_client_tasks.cpp",
        "RingClient::finish",
        "sends it as the task's value, marked as an error",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_tasks.cpp",
        "Scheduler::end_attempt_badly",
        "tries again if retry_exceptions says so; else the error is the value of each return",
        "TaskFailed",
    ),
    Stop(
        "driver",
        "bindings/bind_runtime.cpp",
        "throw_first_error",
        "get finds an error among the values",
    ),
    Stop(
        "driver",
        "python/haz/_core/errors.py",
        "unpack_error",
        "makes an exception that is a TaskError and of the user's own type too",
    ),
)

KILLED = (
    Stop(
        "zygote",
        "src/node/zygote_loop.cpp",
        "Zygote::reap_children",
        "is told by the kernel of the death, and tells the driver",
    ),
    Stop(
        "driver",
        "src/node/supervise.cpp",
        "Node::on_worker_exited",
        "reads what is left in the ring and the pipes of the dead, then forgets it",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_workers.cpp",
        "Scheduler::worker_died",
        "takes back what had not started; drops the references of the dead",
        "WorkerDied",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_workers.cpp",
        "Scheduler::crash_task",
        "tries again, or fails the task with a WorkerCrashedError",
        "TaskRetried",
    ),
    Stop(
        "driver",
        "src/store/value_store.cpp",
        "ValueStore::process_ended",
        "memory that was leased to the dead and holds no object is free again",
    ),
    Stop(
        "driver",
        "src/sched/scheduler_dispatch.cpp",
        "Scheduler::assign",
        "the next attempt, on another worker",
        "TaskAssigned",
    ),
)


# ---- what is followed ---------------------------------------------------------------------------


def _run_program(path: str) -> int:
    """Run a program; return the id of the last task that its variables refer to."""
    variables = runpy.run_path(path, run_name="__main__")
    refs = [value for value in variables.values() if isinstance(value, haz.ObjectRef)]
    if not refs:
        raise SystemExit(f"walk: no variable of {path} is an ObjectRef when it ends")
    return _number(refs[-1])


def _last_ref() -> int:
    ref = haz.put(bytes(1_000_000))
    return _number(ref)


def _raises() -> int:
    @haz.remote
    def fails() -> None:
        raise ValueError("no")

    ref = fails.remote()
    try:
        haz.get(ref)
    except ValueError as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return _number(ref)


def _killed() -> int:
    @haz.remote(max_retries=1)
    def dies_once() -> str:
        if haz.get_runtime_context().get_attempt_number() == 0:
            os.kill(os.getpid(), 9)
        return "done at the second attempt"

    ref = dies_once.remote()
    print(haz.get(ref))
    return _number(ref)


#: Name -> its stops and what makes it happen.
TRIPS: dict[str, tuple[tuple[Stop, ...], Callable[[], int]]] = {
    "last-ref": (LAST_REF, _last_ref),
    "raises": (RAISES, _raises),
    "killed": (KILLED, _killed),
}


def _number(ref: haz.ObjectRef[object]) -> int:
    return int(ref.hex()[16:], 16)


# ---- the story ----------------------------------------------------------------------------------


def story_of(subject: int) -> list[Passage]:
    """Return what the node's story tells of a task or object, and of the workers that ran it."""
    from haz import _native

    _native.snapshot()  # the node takes in what waits, such as refs that have just gone
    records = _native.story(0)
    own = [record for record in records if record[2] == subject]
    workers = {worker for _, _, _, _, worker in own if worker}
    start_ns = min((time_ns for time_ns, *_ in own if time_ns), default=0)  # 0: no clock as yet
    passages = []
    for time_ns, event, of, _, worker in records:
        name = EVENTS[event - 1]
        if of == subject or (name.startswith("Worker") and worker in workers):
            passages.append(Passage(name, max(time_ns - start_ns, 0) / 1e3, worker))
    return passages


def _match(stops: tuple[Stop, ...], story: list[Passage]) -> Iterator[tuple[Stop, Passage | None]]:
    """Give each stop with an event its passage: the last one of that event."""
    for stop in stops:
        found = [passage for passage in story if passage.event == stop.event]
        yield stop, found[-1] if found else None


def _show(stops: tuple[Stop, ...], story: list[Passage]) -> int:
    """Print the stops; return how many events of theirs are missing."""
    missing = 0
    for number, (stop, passage) in enumerate(_match(stops, story), 1):
        print(f"{number:3} {stop.process:7} {stop.file:34} {stop.symbol}")
        print(f"                {stop.what}")
        if passage is not None:
            worker = f", worker {passage.worker}" if passage.worker else ""
            print(f"                * {passage.event} at {passage.at_us:.0f} us{worker}")
        elif stop.event:
            missing += 1
            print(f"                ! {stop.event} did not happen")
    return missing


def main() -> int:
    """Run the command; return its exit code: 1 if an event did not happen."""
    parser = argparse.ArgumentParser(prog="haz.cli.walk", description=__doc__.partition("\n")[0])
    parser.add_argument("program", nargs="?", help="a program with an ObjectRef in a variable")
    parser.add_argument("--trip", choices=TRIPS, help="follow this instead of a program")
    options = parser.parse_args()
    if (options.program is None) == (options.trip is None):
        parser.error("name a program, or a --trip")

    if options.trip is not None:
        stops, run = TRIPS[options.trip]
        subject = run()
    else:
        stops, subject = WALK, _run_program(options.program)
    gc.collect()  # the program's variables: their refs go now
    if haz.init(ignore_reinit_error=True)["engine"] != "native":
        raise SystemExit("walk: only the native engine writes a story; unset HAZ_ENGINE")
    story = story_of(subject)
    print(f"\nThe way of {options.program or options.trip}:\n")
    missing = _show(stops, story)
    print("\nThe story: " + ", ".join(f"{p.event} {p.at_us:.0f}" for p in story) + " (us)")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
