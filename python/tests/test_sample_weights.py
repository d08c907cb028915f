"""What a sample counts: sample_weight of fit, partial_fit and score."""

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn")
from sklearn.model_selection import GridSearchCV

from tulle import SparseMLPClassifier, SparseMLPRegressor


def small(**parameters):
    return SparseMLPClassifier(**{"hidden": (16,), "max_iter": 5, "random_state": 0, "learning_rate": 0.01, **parameters})


def same_model(one, other):
    return one.model_.to_bytes() == other.model_.to_bytes()


def same_weights(one, other):
    return all(np.array_equal(a.data, b.data) for a, b in zip(one.weights_, other.weights_))


@pytest.fixture
def weights():
    return np.random.default_rng(5).integers(0, 4, 300)


def test_only_proportions_count(problem, weights):
    X, y, *_ = problem
    assert same_model(small().fit(X, y, sample_weight=np.full(300, 7)), small().fit(X, y))
    assert same_model(small().fit(X, y, 0.25 * weights), small().fit(X, y, weights))
    assert not same_model(small().fit(X, y, weights), small().fit(X, y))


def test_weight_zero_is_a_sample_that_is_not_there(problem, weights):
    X, y, *_ = problem
    present = weights > 0
    for scale, patience in (("none", 0), ("standard", 0), ("minmax", 3)):
        some = small(scale=scale, early_stopping=patience, batch_size=32)
        without = some.fit(X[present], y[present], weights[present]).model_.to_bytes()
        assert some.fit(X, y, weights).model_.to_bytes() == without


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array], ids=["dense", "sparse"])
def test_an_integer_weight_is_repetition_where_a_batch_holds_everything(problem, weights, kind):
    X, y, *_ = problem
    order = np.random.default_rng(6).permutation(300)
    clf = small(batch_size=1000, class_weight="balanced", rule="rigl", max_iter=120, update_every="40 step")
    repeated = clf.fit(kind(X.repeat(weights, axis=0)), y.repeat(weights)).model_.to_bytes()
    clf.fit(kind(X[order]), y[order], weights[order])
    assert clf.model_.to_bytes() == repeated
    targets = np.stack([X[:, 0], X[:, 1] * X[:, 2]], axis=1)
    reg = SparseMLPRegressor(hidden=(16,), batch_size=1000, max_iter=20, random_state=0)
    repeated = reg.fit(kind(X.repeat(weights, axis=0)), targets.repeat(weights, axis=0)).model_.to_bytes()
    assert reg.fit(kind(X[order]), targets[order], weights[order]).model_.to_bytes() == repeated


def test_batches_of_shuffled_samples_learn_what_counts_more(problem):
    X, y, Xt, _ = problem
    share = [
        np.mean(small(batch_size=32).fit(X, y, np.where(y == 2, weight, 1.0)).predict(Xt) == 2) for weight in (0.01, 1, 100)
    ]
    assert share[0] < share[1] < share[2]
    target = np.where(np.arange(300) % 3 == 0, 1.0, 0.0)  # not to be told from X: a mean is all there is to learn
    reg = SparseMLPRegressor(hidden=(4,), max_iter=60, batch_size=50, learning_rate=0.01, random_state=0)
    means = [reg.fit(0 * X, target, 1 + weight * target).predict(0 * Xt).mean() for weight in (0, 3)]
    assert abs(means[0] - 1 / 3) < 0.03 and abs(means[1] - 4 / 6) < 0.03


def test_a_weight_multiplies_that_of_its_class(problem):
    X, y, *_ = problem
    of_class, of_sample = np.array([0.5, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])
    product = of_class * of_sample / of_sample[y].mean()
    both = small(batch_size=32, class_weight=dict(enumerate(of_class))).fit(X, y, of_sample[y]).predict_proba(X)
    for weights, low, high in ((product, 0, 1e-4), (of_class, 1e-2, 1), (of_sample, 1e-2, 1)):
        alone = small(batch_size=32, class_weight=dict(enumerate(weights))).fit(X, y).predict_proba(X)
        assert low <= np.abs(both - alone).max() <= high


def test_held_out_samples_count_by_their_weights_too(problem):
    X, y, *_ = problem
    noise = np.arange(300) % 2 == 0
    labels = np.where(noise, (y + 1) % 3, y)  # half of all labels are wrong, and count next to nothing
    settings = {"early_stopping": 50, "valid_fraction": 0.3, "max_iter": 40, "batch_size": 32}
    scores = small(**settings).fit(X, labels, np.where(noise, 1e-3, 1.0)).validation_scores_
    assert scores[-1] > 0.9 > 0.7 > max(small(**settings).fit(X, labels).validation_scores_)


def test_epochs_of_partial_fit_are_weighted(problem, weights):
    X, y, *_ = problem
    online, whole = small(update_every="7 step"), small(update_every="7 step", max_iter=3, batch_size=100)
    for _ in range(3):
        online.set_params(batch_size=100).partial_fit(X, y, sample_weight=weights)
    assert same_weights(online, whole.fit(X, y, sample_weight=weights))
    reg = SparseMLPRegressor(hidden=(8,), random_state=0).partial_fit(X, X[:, 0], sample_weight=1 + weights)
    assert not same_model(reg, SparseMLPRegressor(hidden=(8,), random_state=0).partial_fit(X, X[:, 0]))


def test_score_and_searches_take_weights(problem):
    X, y, *_ = problem
    clf = small().fit(X, y)
    right = clf.predict(X) == y
    assert clf.score(X, y, sample_weight=right) == 1.0 and clf.score(X, y, sample_weight=1.0 - right) == 0.0
    GridSearchCV(small(), {"density": [0.5]}, cv=2).fit(X, y, sample_weight=np.ones(300))


@pytest.mark.parametrize(
    "weights, words",
    [
        (np.ones(299), r"shape \(299,\), expected \(300,\)"),
        (np.ones((300, 2)), "shape"),
        (np.where(np.arange(300) == 7, -1.0, 1.0), "Negative values in data passed to `sample_weight`"),
        (np.where(np.arange(300) == 7, np.nan, 1.0), "sample_weight, found NaN"),
        (np.zeros(300), "sample_weight, found zero"),
        (["much"] * 300, "could not convert"),
    ],
)
def test_weights_that_cannot_be_are_refused(problem, weights, words):
    X, y, *_ = problem
    for estimator, method in ((small(), "fit"), (small(), "partial_fit"), (SparseMLPRegressor(), "fit")):
        with pytest.raises(ValueError, match=words):
            getattr(estimator, method)(X, y, sample_weight=weights)
