"""The operations of a system with Ray's API: haz and Ray run this same code."""

from __future__ import annotations

import importlib
import os
import statistics
import time
from typing import Any

from benchmarks import tasks
from benchmarks.timing import Stopwatch, check, median_call_s


class RayLike:
    """Operations over an API module (``haz`` or ``ray``).

    Parameters
    ----------
    api_name
        The module's name; tasks that submit tasks import it in the worker.
    """

    def __init__(self, api_name: str) -> None:
        self._api_name = api_name
        self._api = importlib.import_module(api_name)
        self._noop = self._api.remote(tasks.noop)
        self._identity = self._api.remote(tasks.identity)
        self._nap = self._api.remote(tasks.nap)
        self._array: Any = None
        self._queued: list[Any] = []
        self._made: dict[type, list[Any]] = {}

    def start_workers(self, workers: int) -> None:
        """Run tasks until every worker has taken one."""
        whoami = self._api.remote(tasks.worker_pid)
        seen: set[int] = set()
        deadline = time.monotonic() + 20.0
        while len(seen) < workers and time.monotonic() < deadline:
            seen.update(self._api.get([whoami.remote(0.05) for _ in range(workers)]))

    def stop(self) -> None:
        """Shut down."""
        self._made.clear()
        self._api.shutdown()

    def async_noop(self, n: int) -> float:
        """Submit no-ops, get them all, drop the refs."""
        with Stopwatch() as watch:
            refs = [self._noop.remote() for _ in range(n)]
            results = self._api.get(refs)
            del refs
        check(results == [None] * n, "async no-ops")
        return watch.seconds

    def async_identity(self, n: int) -> float:
        """The same with an argument that comes back."""
        with Stopwatch() as watch:
            refs = [self._identity.remote(i) for i in range(n)]
            results = self._api.get(refs)
            del refs
        check(results == list(range(n)), "async identities")
        return watch.seconds

    def sleep_flat(self, n: int, seconds: float) -> float:
        """Short sleeps, submitted by the driver."""
        with Stopwatch() as watch:
            refs = [self._nap.remote(seconds) for _ in range(n)]
            results = self._api.get(refs)
            del refs
        check(sum(results) == n, "flat sleeps")
        return watch.seconds

    def sleep_nested(self, n: int, seconds: float, batches: int) -> float:
        """Short sleeps submitted by batch tasks, until every inner ref is ready."""
        batch = self._api.remote(tasks.nap_batch)
        with Stopwatch() as watch:
            outer = [batch.remote(self._api_name, n // batches, seconds) for _ in range(batches)]
            inner = [ref for refs in self._api.get(outer) for ref in refs]
            ready, _ = self._api.wait(inner, num_returns=len(inner))
        total = sum(self._api.get(inner))
        check(len(ready) == len(inner) == total == n // batches * batches, "nested sleeps")
        with watch:
            del outer, inner, ready
        return watch.seconds

    def sync_call(self, n: int, pause_s: float, budget_s: float) -> float:
        """Median of a call and the wait for its result."""
        get, noop = self._api.get, self._noop
        return median_call_s(lambda: get(noop.remote()), n, pause_s, budget_s)

    def put_large(self, size: int) -> float:
        """Put an array of ``size`` bytes, and drop it; the check between is not timed."""
        array = self._source(size)
        with Stopwatch() as watch:
            ref = self._api.put(array)
        self._check_array(self._api.get(ref), array)
        with watch:
            del ref
        return watch.seconds

    def get_large(self, size: int, n: int) -> float:
        """Median of ``n`` gets of an array of ``size`` bytes."""
        array = self._source(size)
        ref = self._api.put(array)
        samples = []
        for _ in range(n):
            with Stopwatch() as watch:
                value = self._api.get(ref)
            check(value.nbytes == size and value[-1] == array[-1], "get of a large array")
            with watch:
                del value
            samples.append(watch.seconds)
        self._check_array(self._api.get(ref), array)
        return statistics.median(samples)

    def put_int(self, n: int) -> float:
        """Put ints, one at a time, and drop them."""
        with Stopwatch() as watch:
            refs = [self._api.put(i) for i in range(n)]
        check(self._api.get(refs) == list(range(n)), "put of ints")
        with watch:
            del refs
        return watch.seconds

    def get_many(self, n: int) -> float:
        """Get ``n`` small objects in one call."""
        refs = [self._api.put(i) for i in range(n)]
        with Stopwatch() as watch:
            values = self._api.get(refs)
            del refs
        check(values == list(range(n)), "get of many")
        return watch.seconds

    def wait_one_by_one(self, n: int) -> float:
        """Submit no-ops, then take them off with ``wait``, one at a time."""
        taken = 0
        with Stopwatch() as watch:
            pending = [self._noop.remote() for _ in range(n)]
            while pending:
                ready, pending = self._api.wait(pending)
                taken += len(ready)
            del ready
        check(taken == n, "wait one by one")
        return watch.seconds

    def ref_args(self, n: int) -> float:
        """One task with ``n`` refs as arguments."""
        add_all = self._api.remote(tasks.add_all)
        refs = [self._api.put(i) for i in range(n)]
        with Stopwatch() as watch:
            total = self._api.get(add_all.remote(*refs))
            del refs
        check(total == n * (n - 1) // 2, "refs as arguments")
        return watch.seconds

    def many_returns(self, n: int) -> float:
        """One task with ``n`` returns, all of them fetched."""
        count_up = self._api.remote(num_returns=n)(tasks.count_up)
        with Stopwatch() as watch:
            refs = count_up.remote(n)
            values = self._api.get(refs)
            del refs
        check(values == list(range(n)), "many returns")
        return watch.seconds

    def stream_items(self, n: int, items_ahead: int = -1) -> float:
        """Take ``n`` items of one generator task, and get each as it comes."""
        options = {"_generator_backpressure_num_objects": items_ahead}
        count_on = self._api.remote(**options)(tasks.count_on)
        get = self._api.get
        with Stopwatch() as watch:
            values = [get(ref) for ref in count_on.remote(n)]
        check(values == list(range(n)), "items of a generator")
        return watch.seconds

    def stream_items_in_task(self, n: int) -> float:
        """The same, by a task that starts the generator task itself."""
        take_all = self._api.remote(num_cpus=0)(tasks.take_all)
        self._api.get(take_all.remote(self._api_name, 1))
        with Stopwatch() as watch:
            total = self._api.get(take_all.remote(self._api_name, n))
        check(total == n * (n - 1) // 2, "items of a generator in a task")
        return watch.seconds

    def submit_from_workers(self, n: int, submitters: int) -> float:
        """No-ops submitted by several tasks at once, each of which waits for its own."""
        batch = self._api.remote(num_cpus=0)(tasks.noop_batch)
        each = n // submitters
        self._api.get([batch.remote(self._api_name, 1) for _ in range(submitters)])
        with Stopwatch() as watch:
            refs = [batch.remote(self._api_name, each) for _ in range(submitters)]
            counts = self._api.get(refs)
            del refs
        check(counts == [each] * submitters, "tasks submitted from workers")
        return watch.seconds

    def queue_submit(self, n: int, workers: int, gate: str) -> float:
        """Occupy every worker until the file ``gate`` exists, and queue ``n`` no-ops behind."""
        hold = self._api.remote(tasks.hold_until)
        holders = [hold.remote(gate) for _ in range(workers)]
        time.sleep(0.3)
        with Stopwatch() as watch:
            refs = [self._noop.remote() for _ in range(n)]
        self._queued = [holders, refs]
        return watch.seconds

    def queue_drain(self, n: int, gate: str) -> float:
        """Open the gate and get all that was queued; the refs and results stay."""
        holders, refs = self._queued
        open(gate, "w").close()
        with Stopwatch() as watch:
            results = self._api.get(refs)
        check(results == [None] * n, "queued no-ops")
        check(sum(self._api.get(holders)) == len(holders), "holders of the queue")
        os.unlink(gate)
        return watch.seconds

    def queue_release(self) -> float:
        """Drop the refs of what was queued; one more call follows, behind the releases."""
        with Stopwatch() as watch:
            self._queued = []
            self._api.get(self._noop.remote())
        return watch.seconds

    def sync_actor_call(self, n: int, budget_s: float) -> float:
        """Median of a call of an actor's method and the wait for its result."""
        get, actor = self._api.get, self._actors(tasks.Echo, 1)[0]
        return median_call_s(lambda: get(actor.noop.remote()), n, 0.0, budget_s)

    def async_actor_calls(self, n: int, actors: int) -> float:
        """Calls of ``actors`` actors in turn, all of them fetched at the end."""
        return self._call_all(self._actors(tasks.Echo, actors), n)

    def asyncio_actor_calls(self, n: int, actors: int) -> float:
        """The same with methods that are coroutines."""
        return self._call_all(self._actors(tasks.AsyncEcho, actors), n)

    def actor_calls_with_argument(self, n: int) -> float:
        """Calls of one actor with an argument that comes back."""
        actor = self._actors(tasks.Echo, 1)[0]
        with Stopwatch() as watch:
            refs = [actor.echo.remote(i) for i in range(n)]
            results = self._api.get(refs)
            del refs
        check(results == list(range(n)), "calls with an argument")
        return watch.seconds

    def actor_calls_from_workers(self, n: int, callers: int) -> float:
        """Calls of ``callers`` actors, by as many tasks at once."""
        return self._call_from_workers(self._actors(tasks.Echo, callers), n)

    def asyncio_actor_calls_from_workers(self, n: int, callers: int) -> float:
        """The same with methods that are coroutines."""
        return self._call_from_workers(self._actors(tasks.AsyncEcho, callers), n)

    def placement_groups(self, n: int) -> float:
        """Make groups of one small bundle, wait for each, remove them."""
        util = importlib.import_module(f"{self._api_name}.util")
        with Stopwatch() as watch:
            groups = [util.placement_group([{"CPU": 0.001}]) for _ in range(n)]
            ready = [group.wait(timeout_seconds=30) for group in groups]
            for group in groups:
                util.remove_placement_group(group)
        check(ready == [True] * n, "placement groups")
        return watch.seconds

    def create_actors(self, n: int) -> float:
        """Make actors, call each once, and drop them."""
        cls = self._api.remote(num_cpus=0)(tasks.Echo)
        with Stopwatch() as watch:
            actors = [cls.remote() for _ in range(n)]
            results = self._api.get([actor.noop.remote() for actor in actors])
            del actors
        check(results == [None] * n, "first calls")
        return watch.seconds

    def restart_actor(self, n: int) -> float:
        """Kill an actor's process and get a result of the next one, again and again."""
        cls = self._api.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(tasks.Echo)
        actor = cls.remote()
        pids = {self._api.get(actor.pid.remote())}
        with Stopwatch() as watch:
            for _ in range(n):
                self._api.kill(actor, no_restart=False)
                pids.add(self._api.get(actor.pid.remote()))
        check(len(pids) >= 2, "restarts of an actor")
        return watch.seconds

    def _actors(self, cls: type, count: int) -> list[Any]:
        """The first ``count`` actors of a class, made once in a session, and ready."""
        made = self._made.setdefault(cls, [])
        if len(made) < count:
            remote_cls = self._api.remote(num_cpus=0)(cls)
            made += [remote_cls.remote() for _ in range(count - len(made))]
            self._api.get([actor.noop.remote() for actor in made])
        return made[:count]

    def _call_all(self, actors: list[Any], n: int) -> float:
        each = n // len(actors)
        with Stopwatch() as watch:
            refs = [actor.noop.remote() for _ in range(each) for actor in actors]
            results = self._api.get(refs)
            del refs
        check(results == [None] * (each * len(actors)), "calls of actors")
        return watch.seconds

    def _call_from_workers(self, actors: list[Any], n: int) -> float:
        batch = self._api.remote(num_cpus=0)(tasks.call_batch)
        callers = len(actors)
        each = n // callers
        with Stopwatch() as watch:
            refs = [batch.remote(self._api_name, actors, each) for _ in range(callers)]
            counts = self._api.get(refs)
            del refs
        check(counts == [each] * callers, "calls from workers")
        return watch.seconds

    def _source(self, size: int) -> Any:
        """Array of ``size`` random bytes, its pages touched; made once."""
        if self._array is None or self._array.nbytes != size:
            import numpy as np

            self._array = np.random.default_rng(1).integers(0, 255, size, dtype=np.uint8)
        return self._array

    @staticmethod
    def _check_array(value: Any, array: Any) -> None:
        check(value.shape == array.shape and bool((value == array).all()), "a large array")
