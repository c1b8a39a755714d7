"""Scikit-learn on haz's backend of joblib gives what it gives on joblib's own."""

from __future__ import annotations

import haz
import haz.joblib
import joblib
import numpy
import pytest

datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(autouse=True)
def _registered():
    haz.joblib.register()
    haz.init(num_cpus=2)
    yield
    haz.shutdown()


def both(compute):
    """What `compute` returns on haz, and in this process."""
    with joblib.parallel_config("haz", n_jobs=2):
        on_haz = compute()
    with joblib.parallel_config("sequential"):
        return on_haz, compute()


def test_a_grid_search():
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    x, y = datasets.load_digits(return_X_y=True)

    def search():
        found = GridSearchCV(SVC(), {"C": [0.1, 1], "gamma": [0.001, 0.01]}, cv=2)
        found.fit(x[:400], y[:400])
        return found.best_params_, found.cv_results_["mean_test_score"].tolist()

    first, second = both(search)
    assert first == second


def test_a_forest():
    from sklearn.ensemble import RandomForestClassifier

    x, y = datasets.load_digits(return_X_y=True)

    def grow():
        forest = RandomForestClassifier(20, random_state=0, n_jobs=None)
        return forest.fit(x, y).predict_proba(x[:50])

    first, second = both(grow)
    assert (first == second).all()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_small_arrays_are_the_calls_own(batch_size):
    def change(array, held):
        array[0] = held["in"][0][0] = 7
        return array.sum() + held["in"][0].sum()

    array, held = numpy.zeros(100), {"in": [numpy.zeros(10)]}
    calls = [joblib.delayed(change)(array, held)] * 8
    with joblib.parallel_config("haz", n_jobs=2):
        assert joblib.Parallel(batch_size=batch_size)(calls) == [14] * 8
        assert array[0] == held["in"][0][0] == 0
        large = [joblib.delayed(change)(numpy.zeros(200_000), held)] * 2
        with pytest.raises(ValueError, match="read-only"):
            joblib.Parallel(batch_size=batch_size)(large)


def test_cross_validation_of_large_data():
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_score

    # More than a megabyte: the arrays are shared, and read-only.
    x, y = datasets.make_regression(20_000, 30, noise=3.0, random_state=0)
    first, second = both(lambda: cross_val_score(Ridge(), x, y, cv=4))
    numpy.testing.assert_array_equal(first, second)
