"""Many actors at once, in few descriptors and little memory."""

from __future__ import annotations

import pytest

from tests.engines import native_has_actors

pytestmark = pytest.mark.skipif(not native_has_actors(), reason="no actors in this engine")

PROGRAM = """
import os
import resource
import sys

import haz

resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
haz.init(engine="native", num_cpus=2)


@haz.remote(num_cpus=0)
class Worker:
    def __init__(self, i):
        self.i = i

    def say(self):
        print(f"out {self.i}")
        os.write(2, f"err {self.i}\\n".encode())
        return self.i, os.getpid()

    def die(self):
        os.write(2, b"last words\\n")
        os._exit(3)


workers = [Worker.remote(i) for i in range(COUNT)]
said = haz.get([worker.say.remote() for worker in workers], timeout=300)
assert [i for i, _ in said] == list(range(COUNT))
pids = [pid for _, pid in said]
assert len(set(pids)) == COUNT
assert len(os.listdir("/proc/self/fd")) < 250
try:
    haz.get(workers[-1].die.remote())
except haz.exceptions.ActorDiedError as error:
    assert "last words" in str(error), error
else:
    raise AssertionError("it lives")
haz.kill(workers[-2])
if MEMORY:
    def kilobytes(pid):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))

    each = sum(map(kilobytes, pids[:-2])) / (COUNT - 2)
    print(f"PSS each: {each / 1000:.2f} MB")
    assert each < 6000, each
haz.shutdown()
print("pids", *pids)
"""


def run_many(run_program, count, limit, memory):
    source = PROGRAM.replace("COUNT", str(count)).replace("(LIMIT, LIMIT)", f"({limit}, {limit})")
    done = run_program(source.replace("MEMORY", str(memory)), timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    pids = [int(pid) for pid in done.stdout.rpartition("pids ")[2].split()]
    assert len(pids) == count
    lines = set((done.stdout + done.stderr).splitlines())
    for i, pid in enumerate(pids):
        assert any(line.endswith(f"pid={pid}) out {i}") for line in lines), f"out {i}"
        assert any(line.endswith(f"pid={pid}) err {i}") for line in lines), f"err {i}"
    return done


def test_more_actors_than_descriptors(run_program):
    run_many(run_program, 100, 256, False)


@pytest.mark.slow
def test_a_thousand_actors_within_1024_descriptors(run_program):
    run_many(run_program, 1000, 1024, True)
