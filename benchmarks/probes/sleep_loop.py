"""Sleeps in N forked processes without any runtime: ``python sleep_loop.py N COUNT SECONDS``.

The limit of the sleep rows. The processes wait at a gate, so that forking is not timed. Prints the
seconds from the gate's opening until the last process is done.
"""

import os
import sys
import time


def main(processes: int, count: int, seconds: float) -> None:
    """Fork, open the gate, wait for all."""
    gate_read, gate_write = os.pipe()
    done_read, done_write = os.pipe()
    pids = []
    for index in range(processes):
        pid = os.fork()
        if pid == 0:
            os.close(gate_write)
            os.read(gate_read, 1)  # end of file: the gate is open
            for _ in range(count // processes + (index < count % processes)):
                time.sleep(seconds)
            os.write(done_write, b"x")
            os._exit(0)
        pids.append(pid)
    time.sleep(0.05)
    start = time.perf_counter()
    os.close(gate_write)
    for _ in range(processes):
        os.read(done_read, 1)
    print(time.perf_counter() - start)
    for pid in pids:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
