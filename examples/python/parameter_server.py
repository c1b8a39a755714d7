"""Train a classifier of handwritten digits with a parameter server: one actor, several workers.

The server holds the weights. Each worker, an actor with its own part of the images, computes a
gradient from the weights that it was given; whichever is ready first is applied first, and its worker
goes on with the new weights. The images are scikit-learn's small set of digits, which it ships.
"""

import haz
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

WORKERS = 3
STEPS = 300


@haz.remote
class ParameterServer:
    def __init__(self, shape, rate):
        self.weights = np.zeros(shape)
        self.rate = rate

    def apply(self, gradient):
        self.weights -= self.rate * gradient
        return self.weights


@haz.remote
class Worker:
    def __init__(self, images, labels, seed):
        self.images, self.labels = images, labels
        self.random = np.random.default_rng(seed)

    def gradient(self, weights):
        batch = self.random.integers(0, len(self.labels), 64)
        images, labels = self.images[batch], self.labels[batch]
        scores = np.exp(images @ weights)
        chances = scores / scores.sum(axis=1, keepdims=True)
        chances[np.arange(len(labels)), labels] -= 1
        return images.T @ chances / len(labels)


images, labels = load_digits(return_X_y=True)
images = np.hstack([images / 16, np.ones((len(images), 1))])
train, test, train_labels, test_labels = train_test_split(images, labels, random_state=0)

server = ParameterServer.remote((images.shape[1], 10), rate=0.5)
parts = np.array_split(np.arange(len(train)), WORKERS)
workers = [Worker.remote(train[part], train_labels[part], i) for i, part in enumerate(parts)]

weights = haz.put(np.zeros((images.shape[1], 10)))
pending = {worker.gradient.remote(weights): worker for worker in workers}
for step in range(1, STEPS + 1):
    (ready,), _ = haz.wait(list(pending))
    worker = pending.pop(ready)
    weights = server.apply.remote(ready)  # refs go straight from actor to actor
    pending[worker.gradient.remote(weights)] = worker
    if step % 50 == 0:
        right = (test @ haz.get(weights)).argmax(axis=1) == test_labels
        print(f"step {step:3}: {right.mean():.1%} of the test images are right")
