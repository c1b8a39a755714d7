"""A bare interpreter and N idle forks of it: ``python bare_forks.py N plain|numpy``.

The limit of the rows on memory and shutdown. Prints ``ready``, waits for a line, kills and reaps
the forks, and prints ``down SECONDS``.
"""

import os
import signal
import sys
import time


def main(forks: int, with_numpy: bool) -> None:
    """Fork, wait, end the forks."""
    if with_numpy:
        import numpy  # noqa: F401
    pids = []
    for _ in range(forks):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        pids.append(pid)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
    print(f"down {time.perf_counter() - start}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "numpy")
