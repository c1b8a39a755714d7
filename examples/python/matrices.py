"""Multiply two pairs of matrices at the same time, and add the products.

Big arrays lie in shared memory: each is written once, by the task that makes it, and whoever needs
it reads it there. What tasks get as arguments, and what `haz.get` returns, are read-only views.
"""

import time

import haz
import numpy as np

SIZE = (1000, 1000)


@haz.remote
def create_matrix(size, seed):
    return np.random.default_rng(seed).normal(size=size)


@haz.remote
def multiply_matrices(x, y):
    return np.dot(x, y)


@haz.remote
def sum_matrices(x, y):
    return np.add(x, y)


haz.init(num_cpus=4)
start = time.perf_counter()
m1, m2, m3, m4 = (create_matrix.remote(SIZE, seed) for seed in range(4))
m12 = multiply_matrices.remote(m1, m2)
m34 = multiply_matrices.remote(m3, m4)
total = haz.get(sum_matrices.remote(m12, m34))
print(
    f"{total.shape} after {time.perf_counter() - start:.2f} s, writeable: {total.flags.writeable}"
)

a, b, c, d = haz.get([m1, m2, m3, m4])
print("same as here:", np.allclose(total, a @ b + c @ d))

changed = total.copy()  # a copy is yours to change
changed[0, 0] = 0
