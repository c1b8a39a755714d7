"""Search the parameters of a classifier with Optuna: trials are actors that report as they learn.

Optuna chooses what to try and says which trials are not worth going on with; haz runs them side by
side. Each trial learns in rounds on scikit-learn's digits; after each round it is asked how good it
is, and a hopeless one is ended with haz.kill. A line is printed for each round that ends.
"""

import haz
import optuna
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

TRIALS = 12
ROUNDS = 8
AT_A_TIME = 3


@haz.remote
class Trial:
    def __init__(self, data, parameters):
        self.train, self.test, self.train_labels, self.test_labels = data
        self.model = SGDClassifier(loss="log_loss", random_state=0, **parameters)

    def learn(self):
        """One more round; how many of the test images are right then."""
        self.model.partial_fit(self.train, self.train_labels, classes=range(10))
        return self.model.score(self.test, self.test_labels)


images, labels = load_digits(return_X_y=True)
data = haz.put(train_test_split(images / 16, labels, random_state=0))
optuna.logging.set_verbosity(optuna.logging.ERROR)
pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1)
study = optuna.create_study(
    direction="maximize", sampler=optuna.samplers.TPESampler(seed=0), pruner=pruner
)

running = {}  # ref of the round that runs -> trial, its actor, its number of rounds
begun = ended = 0
while ended < TRIALS:
    while begun < TRIALS and len(running) < AT_A_TIME:
        trial = study.ask()
        parameters = {
            "alpha": trial.suggest_float("alpha", 1e-6, 1.0, log=True),
            "eta0": trial.suggest_float("eta0", 1e-4, 1.0, log=True),
            "learning_rate": trial.suggest_categorical("learning_rate", ["constant", "adaptive"]),
        }
        actor = Trial.remote(data, parameters)
        running[actor.learn.remote()] = trial, actor, 1
        begun += 1
    (ready,), _ = haz.wait(list(running))
    trial, actor, rounds = running.pop(ready)
    score = haz.get(ready)
    trial.report(score, rounds)
    state = "goes on"
    if trial.should_prune():
        haz.kill(actor)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        state = "stopped early"
    elif rounds == ROUNDS:
        study.tell(trial, score)
        state = "done"
    if state == "goes on":
        running[actor.learn.remote()] = trial, actor, rounds + 1
    else:
        ended += 1
    print(f"{ended:2} of {TRIALS}  trial {trial.number:2}, round {rounds}: {score:.1%}  {state}")
print(f"best: {study.best_value:.1%} with {study.best_params}")
