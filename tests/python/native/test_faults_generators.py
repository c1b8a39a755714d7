"""Streams whose processes die: what was given stays given once, the rest comes, or an error."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import haz
import pytest
from haz.exceptions import WorkerCrashedError
from haz.testing import wait_until

from tests.python.native.fault_program import Program, run_scenario
from tests.python.native.fault_tools import counts, kill, raised, touch, touched, workers, world

SEEDS = [int(seed) for seed in os.environ.get("SCENARIO_SEEDS", "1").split(",")]


def die_in_mid_stream(taken_before, limit):
    @haz.remote(max_retries=2, _generator_backpressure_num_objects=limit)
    def mortal():
        touch("attempts")
        attempt = touched("attempts")
        for i in range(100):
            if i == 40 * attempt:
                os.kill(os.getpid(), signal.SIGKILL)
            yield i, attempt

    with world():
        generator = mortal.remote()
        found = [haz.get(next(generator)) for _ in range(taken_before)]
        found += [haz.get(ref) for ref in generator]
        assert [i for i, _ in found] == list(range(100))
        # Each attempt went on where the one before it was: nothing was given twice, or changed.
        assert [attempt for _, attempt in found] == [1] * 40 + [2] * 40 + [3] * 20
        assert haz.get(generator.completed()) == 100
        assert touched("attempts") == 3
        del generator, found


@pytest.mark.parametrize(("taken_before", "limit"), [(0, -1), (10, -1), (0, 1), (7, 8)])
def test_a_worker_that_dies_in_mid_stream(tmp_path, taken_before, limit):
    run_scenario(die_in_mid_stream, tmp_path, taken_before=taken_before, limit=limit)


def die_without_a_retry():
    @haz.remote(max_retries=0)
    def mortal():
        yield bytes(2_000_000)
        yield "small"
        os._exit(3)

    with world():
        generator = mortal.remote()
        first, second, last = generator
        assert len(haz.get(first)) == 2_000_000
        assert haz.get(second) == "small"
        error = raised(haz.get, last)
        assert isinstance(error, WorkerCrashedError), error
        assert error.exit_code == 3
        assert "mortal" in str(error)
        assert isinstance(raised(haz.get, generator.completed()), WorkerCrashedError)
        del generator, first, second, last, error


def test_a_worker_that_dies_without_a_retry(tmp_path):
    run_scenario(die_without_a_retry, tmp_path)


def kill_under_load(rounds):
    @haz.remote(max_retries=-1, num_cpus=0.5)
    def produce(n, big):
        for i in range(n):
            if random.random() < 0.2:
                time.sleep(0.001)
            yield i, bytes(200_000 if big else 10)

    @haz.remote(max_retries=-1, num_cpus=0.5)
    def relay(n):
        source = produce.options(_generator_backpressure_num_objects=5).remote(n, False)
        for ref in source:
            i, _ = haz.get(ref)
            yield i

    def consume(generator, found):
        for ref in generator:
            found.append(haz.get(ref))

    with world():
        stop = threading.Event()
        killed = most = 0

        def killer():
            nonlocal killed
            while not stop.wait(0.02 + random.random() * 0.2):
                running = workers()
                if running and killed < most:
                    killed += 1
                    kill(random.choice(running))

        thread = threading.Thread(target=killer)
        thread.start()
        try:
            for _ in range(rounds):
                most += 20
                generators = [
                    produce.remote(150, False),
                    produce.options(_generator_backpressure_num_objects=3).remote(150, False),
                    produce.remote(60, True),
                    relay.remote(60),
                ]
                results = [[] for _ in generators]
                consumers = [
                    threading.Thread(target=consume, args=pair)
                    for pair in zip(generators, results, strict=True)
                ]
                for consumer in consumers:
                    consumer.start()
                dropped = produce.remote(10_000, False)
                next(dropped)
                del dropped
                for consumer in consumers:
                    consumer.join(60)
                    assert not consumer.is_alive(), f"a consumer waits for ever: {counts()}"
                numbers = [
                    [item if isinstance(item, int) else item[0] for item in result]
                    for result in results
                ]
                assert numbers == [list(range(n)) for n in (150, 150, 60, 60)], numbers
                del generators, results, consumers
        finally:
            stop.set()
            thread.join()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_deaths_under_load(tmp_path, seed):
    run_scenario(kill_under_load, tmp_path, seed=seed, timeout_s=100, rounds=3)


def driver_with_streams():
    @haz.remote(num_cpus=0.2)
    def endless(big):
        while True:
            yield bytes(100_000) if big else 1

    haz.init(num_cpus=2)
    generators = [
        endless.remote(False),
        endless.options(_generator_backpressure_num_objects=2).remote(False),
        endless.options(_generator_backpressure_num_objects=50).remote(True),
    ]
    for generator in generators:
        next(generator)
    print("streams", flush=True)
    while True:
        for generator in generators:
            haz.get(next(generator))


def test_a_driver_that_is_killed_in_mid_stream(tmp_path):
    program = Program(driver_with_streams, tmp_path)
    program.wait_for("streams")
    time.sleep(0.3)
    program.process.kill()
    assert program.wait().code == -signal.SIGKILL


def consumers_and_producers_die():
    @haz.remote(max_retries=-1, num_cpus=0.5)
    def produce(n):
        for i in range(n):
            time.sleep(0.001)
            yield i

    @haz.remote(max_retries=0, num_cpus=0.5)
    def consume(generator):
        touch("began")
        return [haz.get(ref) for ref in generator]

    with world():
        for round_number in range(1, 6):
            generator = produce.remote(1_000_000)
            ref = consume.remote(generator)
            wait_until(lambda number=round_number: touched("began") == number)
            time.sleep(random.random() * 0.05)
            for pid in workers():
                kill(pid)
            assert isinstance(raised(haz.get, ref), WorkerCrashedError)
            # What the consumer had taken is gone with it; the driver gets the rest, in order.
            rest = [haz.get(next(generator)) for _ in range(50)]
            assert rest == list(range(rest[0], rest[0] + 50))
            del generator, ref


def test_consumers_and_producers_that_die(tmp_path):
    run_scenario(consumers_and_producers_die, tmp_path)


def interrupted_wait():
    @haz.remote
    def gated():
        wait_until(lambda: touched("go"))
        yield 1
        yield 2

    class AlarmError(Exception):
        pass

    def on_alarm(_number, _frame):
        raise AlarmError

    def next_with_alarm(generator):
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # may be over before `next` has begun
        next(generator)

    with world():
        signal.signal(signal.SIGALRM, on_alarm)
        generator = gated.remote()
        for _ in range(10):
            error = raised(next_with_alarm, generator)
            assert isinstance(error, AlarmError), repr(error)
        touch("go")
        assert [haz.get(ref) for ref in generator] == [1, 2]
        del generator, error


def test_a_wait_for_an_item_can_be_interrupted(tmp_path):
    run_scenario(interrupted_wait, tmp_path)
