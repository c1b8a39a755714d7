"""Add numbers up in a chain and in a tree: the tree has three steps where the chain has seven.

A ref given as an argument of a task arrives as its value, and the task starts when all of them are
there. So a whole graph of tasks is laid out at once, and nobody waits in between.
"""

import time

import haz

STEP_S = 0.1


@haz.remote
def add(a, b):
    time.sleep(STEP_S)  # stands for real work
    return a + b


def chain(numbers):
    """((1 + 2) + 3) + 4 ...: each step needs the one before it."""
    total = numbers[0]
    for number in numbers[1:]:
        total = add.remote(total, number)
    return total


def tree(numbers):
    """(1 + 2) + (3 + 4) ...: the additions of one level run at the same time."""
    while len(numbers) > 1:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        numbers = [add.remote(a, b) for a, b in pairs]
    return numbers[0]


haz.init(num_cpus=4)
numbers = list(range(1, 9))
for shape in (chain, tree):
    start = time.perf_counter()
    total = haz.get(shape(numbers))
    steps = (time.perf_counter() - start) / STEP_S
    print(f"{shape.__name__}: {total}, after the time of {steps:.1f} additions")
