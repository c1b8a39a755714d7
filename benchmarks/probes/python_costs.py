"""What plain Python pays in one process, as JSON: the limit of rows that need no other process."""

import json
import pickle
import statistics
import time
from collections.abc import Callable

import numpy as np


def noop() -> object:
    """The body of the no-op task."""
    return None


def sleep_often(count: int) -> None:
    """Sleep, as the sleep rows do."""
    for _ in range(count):
        time.sleep(0.0001)


def per_item_s(operation: Callable[[], object], items: int, repeats: int = 5) -> float:
    """Median seconds of an operation, divided by the items that it handles."""
    samples = []
    for _ in range(repeats):
        start = time.perf_counter()
        operation()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples) / items


def main() -> None:
    """Measure and print."""
    array = np.ones(100_000_000, dtype=np.uint8)
    buffers: list[pickle.PickleBuffer] = []
    frame = pickle.dumps(array, protocol=5, buffer_callback=buffers.append)
    pickled = [pickle.dumps(i, protocol=5) for i in range(10_000)]
    print(
        json.dumps(
            {
                "call": per_item_s(lambda: [noop() for _ in range(100_000)], 100_000),
                "dumps_int": per_item_s(
                    lambda: [pickle.dumps(i, protocol=5) for i in range(10_000)], 10_000
                ),
                "loads_int": per_item_s(lambda: [pickle.loads(one) for one in pickled], 10_000),
                "loads_view": per_item_s(
                    lambda: [pickle.loads(frame, buffers=buffers) for _ in range(1000)], 1000
                ),
                "sleep_100us": per_item_s(lambda: sleep_often(1000), 1000),
            }
        )
    )


if __name__ == "__main__":
    main()
