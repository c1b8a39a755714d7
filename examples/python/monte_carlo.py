"""Estimate pi from random points, and print what comes as it comes.

Workers have random numbers of their own: no two tasks see the same ones, though no seed is set.
"""

import random

import haz

TASKS = 40
POINTS = 50_000


@haz.remote
def points_in_circle(number):
    inside = 0
    for _ in range(number):
        x, y = random.random(), random.random()
        inside += x * x + y * y < 1
    return inside


pending = [points_in_circle.remote(POINTS) for _ in range(TASKS)]
inside = done = 0
while pending:
    # Those that are ready first; the rest is waited for again.
    ready, pending = haz.wait(pending, num_returns=min(10, len(pending)))
    inside += sum(haz.get(ready))
    done += len(ready)
    print(f"{done:2} of {TASKS} tasks: pi is about {4 * inside / (done * POINTS):.4f}")
