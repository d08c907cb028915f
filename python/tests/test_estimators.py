"""The estimators as scikit-learn's users know them."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse
from conftest import blobs

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from tulle import SMLPNetClassifier, SparseMLPClassifier, SparseMLPRegressor, SparseRecovery
from tulle.errors import ConfigError, DivergedError


def small(**parameters):
    return SparseMLPClassifier(**{"hidden": (16,), "max_iter": 10, "random_state": 0, "learning_rate": 0.01, **parameters})


def same_model(one, other):
    return one.model_.to_bytes() == other.model_.to_bytes()


@pytest.mark.parametrize("estimator", [SparseMLPClassifier(), SparseMLPRegressor()], ids=lambda e: type(e).__name__)
def test_every_check_of_scikit_learn_passes(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")] == []
    assert len(results) > 45


def test_equal_seeds_give_equal_models_whatever_the_threads(problem):
    X, y, *_ = problem
    one, two, three = (small(threads=n).fit(X, y) for n in (1, 2, 3))
    assert same_model(one, two) and same_model(one, three)
    assert not same_model(one, small(random_state=1).fit(X, y))


def test_it_learns(problem):
    X, y, Xt, yt = problem
    assert small(max_iter=40).fit(X, y).score(Xt, yt) > 0.85


def test_weights_are_views_that_no_training_changes(problem):
    X, y, *_ = problem
    clf = small().fit(X, y)
    first = clf.weights_[0]
    assert isinstance(first, scipy.sparse.csr_array) and first.shape == (16, 20) and first.nnz == clf.model_.layers[0]["nnz"]
    assert np.shares_memory(first.data, clf.weights_[0].data) and not first.data.flags.writeable
    before = first.toarray()
    clf.partial_fit(X, y)
    assert np.array_equal(first.toarray(), before)
    assert not np.array_equal(clf.weights_[0].toarray(), before)
    del clf
    assert np.array_equal(first.toarray(), before)


def test_no_layer_starves_on_small_data(problem):
    X, y, *_ = problem
    clf = small(density=0.01).fit(X, y)
    assert clf.weights_[0].nnz == 8 * 16
    assert clf.input_degree_.sum() == clf.model_.layers[0]["nnz"]


def test_labels_may_be_text_and_come_back_as_they_were(problem):
    X, y, Xt, _ = problem
    names = np.array(["ape", "bee", "cat"])
    by_name, by_number = small().fit(X, names[y]), small().fit(X, y)
    assert np.array_equal(by_name.predict(Xt), names[by_number.predict(Xt)])
    assert by_name.model_.classes == ["ape", "bee", "cat"]


def test_a_row_does_not_depend_on_its_neighbours(problem):
    X, y, Xt, _ = problem
    clf = small(hidden=(64, 64)).fit(X, y)
    whole = clf.predict_proba(Xt)
    assert np.abs(np.vstack([clf.predict_proba(row[None]) for row in Xt]) - whole).max() <= 1e-7
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-6)


def test_sparse_rows_stay_sparse_and_give_what_dense_ones_give(problem):
    X, y, Xt, _ = problem
    X = np.where(np.abs(X) > 1, X, 0).astype(np.float32)
    dense, sparse = small().fit(X, y), small().fit(scipy.sparse.csr_matrix(X), y)
    assert np.abs(dense.predict_proba(Xt) - sparse.predict_proba(scipy.sparse.csr_array(Xt))).max() < 1e-4
    wide = scipy.sparse.random_array((50, 2_000_000), density=1e-6, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    small(max_iter=1, density=1e-6, hidden=(4,)).fit(wide, np.arange(50) % 2)  # dense: 400 MB of zeros


def test_pickles_and_clones_hold_the_model_alone(problem):
    X, y, Xt, _ = problem
    clf = small().fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    assert np.array_equal(again.predict_proba(Xt), clf.predict_proba(Xt)) and again.config_ == clf.config_
    assert not hasattr(clone(clf), "model_") and clone(clf).get_params() == clf.get_params()
    broken = bytearray(clf.model_.to_bytes())
    broken[-200] ^= 1
    with pytest.raises(ValueError, match="expected"):
        type(clf.model_).from_bytes(broken)


def test_a_saved_model_is_loaded_with_its_classes(problem, tmp_path):
    X, y, Xt, _ = problem
    clf = small().fit(X, y + 5)
    clf.save(tmp_path / "m.safetensors")
    loaded = SparseMLPClassifier.load(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.predict(Xt), clf.predict(Xt)) and list(loaded.classes_) == [5, 6, 7]


@pytest.mark.parametrize("labels", [["01", "1"], ["+1", "-1"], ["1_0", "2"]])
def test_a_loaded_classifier_leaves_labels_alone_that_are_no_plain_numbers(problem, tmp_path, labels):
    X, y, *_ = problem
    y = np.asarray(labels)[y % 2]
    small(max_iter=2).fit(X, y).save(tmp_path / "m.safetensors")
    assert SparseMLPClassifier.load(tmp_path / "m.safetensors").classes_.tolist() == sorted(labels)


def test_it_works_within_pipelines_grids_and_folds(problem):
    X, y, *_ = problem
    sparse = scipy.sparse.csr_array(np.where(np.abs(X) > 0.5, X, 0))
    pipe = make_pipeline(StandardScaler(with_mean=False), small())
    assert pipe.fit(sparse, y).score(sparse, y) > 0.6
    grid = GridSearchCV(small(), {"density": [0.3, 0.9]}, cv=2).fit(X, y)
    assert grid.best_params_["density"] in (0.3, 0.9)
    assert len(cross_val_score(small(threads=1), X, y, cv=2, n_jobs=2)) == 2


def test_validation_data_are_watched_and_choose_the_epoch(problem):
    X, y, Xt, yt = problem
    clf = small(max_iter=60, early_stopping=3, learning_rate=0.05).fit(X, y, eval_set=(Xt, yt))
    assert len(clf.validation_scores_) == clf.n_iter_ == len(clf.loss_curve_) < 60
    losses = [record["valid_loss"] for record in clf.history_]
    probabilities = np.clip(clf.predict_proba(Xt)[np.arange(len(yt)), yt], 1e-12, 1)
    assert abs(-np.log(probabilities).mean() - min(losses)) < 1e-4
    held_out = small(early_stopping=2, valid_fraction=0.2).fit(X, y)
    assert "valid_loss" in held_out.history_[0] and "valid_loss" not in small().fit(X, y).history_[0]


def test_warm_starts_and_partial_fits_go_on_where_they_were(problem):
    X, y, *_ = problem
    whole = small(max_iter=6, update_every="7 step").fit(X, y)
    parts = small(max_iter=2, update_every="7 step", warm_start=True)
    for _ in range(3):
        parts.fit(X, y)
    assert parts.n_iter_ == 6 and same_model(whole, parts)
    online = small(update_every="7 step").partial_fit(X, y, classes=[0, 1, 2])
    for _ in range(5):
        online.partial_fit(X, y)
    assert online.n_iter_ == 6 and np.array_equal(whole.weights_[0].data, online.weights_[0].data)
    evolving = small(update_every="1 epoch").partial_fit(X, y)
    before = evolving.weights_[0].indices.copy()
    assert not np.array_equal(evolving.partial_fit(X, y).weights_[0].indices, before)


def test_class_weights_move_the_decision(problem):
    X, y, Xt, _ = problem
    share = [np.mean(small(class_weight={2: w}, max_iter=5).fit(X, y).predict(Xt) == 2) for w in (0.01, 1.0, 100.0)]
    assert share[0] < share[1] < share[2]
    small(class_weight="balanced").fit(X, y)


def test_regression_takes_one_target_or_several(problem):
    X, _, Xt, _ = problem
    targets = np.stack([X[:, 0] - X[:, 1], np.abs(X[:, 2])], axis=1)
    wanted = np.stack([Xt[:, 0] - Xt[:, 1], np.abs(Xt[:, 2])], axis=1)
    both = SparseMLPRegressor(hidden=(64,), max_iter=150, learning_rate=0.01, random_state=0).fit(X, targets)
    assert both.predict(Xt).shape == (100, 2) and both.score(Xt, wanted) > 0.8
    one = SparseMLPRegressor(hidden=(64,), max_iter=5, random_state=0).fit(X, targets[:, 0])
    assert one.predict(Xt).shape == (100,)
    with pytest.raises(ValueError, match="found 1 for each sample, expected 2"):
        SparseMLPRegressor(max_iter=1).fit(X, targets, eval_set=(X, targets[:, :1]))
    with pytest.raises(ValueError, match="y, found dtype"):
        one.fit(X, np.where(X[:, 0] > 0, "much", "little"))
    with pytest.raises(ValueError, match="y, found a number too large"):
        one.fit(X, 1e300 * targets[:, 0].astype(np.float64))


@pytest.mark.parametrize(
    "change, exception, words",
    [
        ({"rule": "sett"}, ConfigError, ["rule", "did you mean"]),
        ({"density": 2.0}, ConfigError, ["density", "2"]),
        ({"hidden": (0,)}, ConfigError, ["hidden"]),
        ({"config": {"batch_sise": 3}}, ConfigError, ["batch_sise", "batch_size"]),
        ({"learning_rate": "fast"}, ConfigError, ["learning_rate"]),
        ({"batch_size": 0}, ConfigError, ["batch_size", "0"]),
        ({"batch_size": "many"}, ConfigError, ["batch_size", "many"]),
        ({"class_weight": {7: 2.0}}, ValueError, ["class_weight", "7"]),
        ({"learning_rate": 1e30, "optimizer": "sgd"}, DivergedError, ["loss"]),
    ],
)
def test_parameters_that_cannot_be_are_refused_by_name(problem, change, exception, words):
    X, y, *_ = problem
    with pytest.raises(exception) as caught:
        small(**change).fit(X, y)
    assert isinstance(caught.value, (ValueError, ArithmeticError))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "X, y, words",
    [
        (np.full((9, 2), np.nan), np.arange(9) % 3, "NaN"),
        (np.zeros((0, 2)), np.zeros(0), "0 sample"),
        (np.zeros((9, 2)), np.zeros(9), "1 class"),
        (np.zeros((9, 2)), np.zeros(8), "inconsistent"),
        (np.zeros((9, 2), dtype="U3"), np.arange(9) % 3, "convert"),
        (np.zeros(9), np.arange(9) % 3, "2D"),
        (np.zeros((9, 2)), np.linspace(0, 1, 9), "continuous"),
        (np.full((9, 2), 1e300), np.arange(9) % 3, "X, found a number too large for float32"),
        (scipy.sparse.csr_array(np.full((9, 2), -1e300)), np.arange(9) % 3, "X, found a number too large for float32"),
    ],
)
def test_data_that_cannot_be_are_refused_as_scikit_learn_does(X, y, words):
    with pytest.raises(ValueError, match=words):
        small().fit(X, y)


def test_odd_arrays_are_taken_and_left_as_they_are(problem, tmp_path):
    X, y, *_ = problem
    wanted = small().fit(X, y)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for odd in (X.astype(np.float64), np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], X[::-1][::-1], mapped, X.tolist()):
        before = np.array(odd)
        assert same_model(small().fit(odd, y), wanted)
        assert np.array_equal(np.array(odd), before)


def test_tensors_are_taken_for_samples_labels_and_weights(problem):
    torch = pytest.importorskip("torch")
    X, y, *_ = problem
    weights = np.arange(300) % 3
    wanted = small(early_stopping=9).fit(X, y, weights, eval_set=(X, y))
    t = torch.tensor
    assert same_model(small(early_stopping=9).fit(t(X), t(y), t(weights), eval_set=(t(X), t(y))), wanted)
    assert np.array_equal(wanted.predict(t(X)), wanted.predict(X))
    reg = SparseMLPRegressor(hidden=(8,), max_iter=3, random_state=0)
    assert reg.fit(t(X), t(X[:, :2])).model_.to_bytes() == reg.fit(X, X[:, :2]).model_.to_bytes()


def test_sparse_matrices_of_any_kind_are_taken(problem):
    X, y, *_ = problem
    X = np.where(np.abs(X) > 1, X, 0)
    wanted = small().fit(scipy.sparse.csr_array(X), y)
    wide = scipy.sparse.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    for kind in (scipy.sparse.csc_matrix(X), scipy.sparse.coo_array(X), scipy.sparse.lil_array(X), wide):
        assert same_model(small().fit(kind, y), wanted)
        assert np.array_equal(wanted.predict(kind), wanted.predict(scipy.sparse.csr_array(X)))


def test_keys_in_config_mean_what_parameters_mean(problem):
    X, y, *_ = problem
    one = small(scale="standard", batch_size=50, early_stopping=3, valid_fraction=0.25)
    keys = {"scale": "standard", "train.batch_size": 50, "early_stopping": 3, "valid_fraction": 0.25}
    assert same_model(one.fit(100 * X + 50, y), small(config=keys).fit(100 * X + 50, y))
    assert small(config=keys, max_iter=40).fit(100 * X + 50, y).score(100 * X + 50, y) > 0.8
    assert "valid_loss" in one.history_[0]


def test_early_stopping_may_be_true_or_false(problem):
    X, y, *_ = problem
    assert same_model(small(early_stopping=True).fit(X, y), small(early_stopping=10).fit(X, y))
    assert same_model(small(early_stopping=False).fit(X, y), small(early_stopping=0).fit(X, y))


def test_a_fold_without_a_class_does_not_mind_its_weight(problem):
    X, y, *_ = problem
    few = y != 2
    assert same_model(small(class_weight={0: 1, 1: 3, 2: 5}).fit(X[few], y[few]), small(class_weight={0: 1, 1: 3}).fit(X[few], y[few]))


def test_a_model_without_its_training_is_not_thrown_away_by_partial_fit(problem, tmp_path):
    X, y, *_ = problem
    clf = small().fit(X, y)
    clf.save(tmp_path / "m.safetensors")
    for model in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf), SparseMLPClassifier.load(tmp_path / "m.safetensors")):
        with pytest.raises(ValueError, match="partial_fit, found a model from a pickle"):
            model.partial_fit(X, y)
        assert np.array_equal(model.predict(X), clf.predict(X))
        assert model.set_params(**small().get_params()).fit(X, y).partial_fit(X, y).n_iter_ == 11


def test_what_does_not_fit_the_model_is_refused(problem):
    X, y, Xt, yt = problem
    clf = small()
    with pytest.raises(Exception, match="not fitted"):
        clf.predict(X)
    clf.fit(X, y)
    with pytest.raises(ValueError, match="features"):
        clf.predict(X[:, :3])
    with pytest.raises(ValueError, match="labels"):
        small().fit(X, y, eval_set=(Xt, yt + 1))
    with pytest.raises(ValueError, match="features"):
        small().fit(X, y, eval_set=(Xt[:, :2], yt))
    with pytest.raises(ValueError, match="first call"):
        small().partial_fit(X, y).partial_fit(X, y, classes=[7, 8])


def test_recovery_finds_the_planted_weights():
    random = np.random.default_rng(3)
    X = random.normal(size=(3000, 30))
    y = np.maximum(X[:, 0] - 2 * X[:, 4], 0) + np.maximum(X[:, 7] + X[:, 9], 0)
    found = SparseRecovery(hidden_width=4, nnz=8, random_state=0).fit(X[:2000], y[:2000])
    assert found.score(X[2000:], y[2000:]) > 0.9999 and found.nnz_ <= 8 + 4
    assert pickle.loads(pickle.dumps(found)).score(X, y) > 0.9999
    labels = np.array(["no", "yes"])[(y > y.mean()).astype(int)]
    classes = SparseRecovery(method="aiht", hidden_width=8, nnz=30, random_state=0).fit(X, labels)
    assert set(classes.predict(X)) <= {"no", "yes"} and classes.score(X, labels) > 0.7
    with pytest.raises(TypeError, match="sparse rows"):
        SparseRecovery().fit(scipy.sparse.csr_array(X), y)


def test_smlpnet_takes_images_in_either_order():
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 120)
    images = (random.integers(0, 60, (120, 16, 16, 3)) + 120 * y[:, None, None, None]).astype(np.uint8)
    net = {"width": 8, "depths": (1, 1), "max_iter": 4, "batch_size": 20, "random_state": 0}
    last = SMLPNetClassifier(**net).fit(images, y)
    first = SMLPNetClassifier(channels="first", **net).fit(np.moveaxis(images, 3, 1), y)
    assert last.model_.to_bytes() == first.model_.to_bytes()
    assert last.score(images, y) > 0.9
    assert pickle.loads(pickle.dumps(last)).predict(images).shape == (120,)
    with pytest.raises(ValueError, match="images of"):
        last.predict(images[:, :8])
    with pytest.raises(ValueError, match="labels"):
        SMLPNetClassifier(**net).fit(images, y, eval_set=(images, y + 1))
    with pytest.raises(ValueError, match="dimensions"):
        SMLPNetClassifier(**net).fit(images.reshape(120, -1), y)
    with pytest.raises(ValueError, match=r"eval_set, found images of \(3, 8, 32\).*expected \(3, 16, 16\)"):
        SMLPNetClassifier(**net).fit(images, y, eval_set=(images.reshape(120, 8, 32, 3), y))
    with pytest.raises(ValueError, match="channels, found 'lst', expected 'last' or 'first'"):
        SMLPNetClassifier(channels="lst", **net).fit(images, y)
    with pytest.raises(ValueError, match="X, found no images"):
        SMLPNetClassifier(**net).fit(images[:0], y[:0])
    with pytest.raises(ValueError, match="train.batch_size, found 119.* 120 % 119 = 1"):  # 2 x 2 tokens, then one
        SMLPNetClassifier(**{**net, "patch": 8, "batch_size": 119}).fit(images, y)


def test_threads_that_share_a_model_of_images_get_what_one_gets():
    random = np.random.default_rng(0)
    images, y = random.integers(0, 256, (600, 16, 16)).astype(np.uint8), np.arange(600) % 3
    net = SMLPNetClassifier(max_iter=1, depths=(1, 1), width=16, threads=1, random_state=0).fit(images[:90], y[:90])
    wanted = net.model_.forward(images.reshape(600, -1))

    def differences(thread):
        samples = images[: 200 + 50 * thread].reshape(200 + 50 * thread, -1)
        samples = samples if thread % 2 == 0 else samples.astype(np.float32)  # two ways through the model
        return [np.abs(net.model_.forward(samples) - wanted[: len(samples)]).max() for _ in range(15)]

    with ThreadPoolExecutor(4) as pool:
        assert max(max(found) for found in pool.map(differences, range(4))) < 1e-6


def test_every_parameter_reaches_its_key(problem):
    tomllib = pytest.importorskip("tomllib")
    X, y, *_ = problem
    values = {
        "density": 0.93, "alpha": 0.21, "dropout": 0.17, "optimizer": "sgdw", "learning_rate": 0.0019, "momentum": 0.77,
        "weight_decay": 0.0123, "batch_size": 33, "schedule": "cosine", "rule": "rigl", "zeta": 0.37,
        "update_every": "17 step", "early_stopping": 7, "valid_fraction": 0.19, "weight_init": "xavier", "fan": "dense",
        "scale": "minmax", "activation": "leaky-relu", "distribution": "uniform",
    }  # fmt: skip
    text = SparseMLPClassifier(hidden=(31, 17), max_iter=2, random_state=5, config={"gamma": 0.3}, **values).fit(X, y).config_
    keys = {name: value for section in tomllib.loads(text).values() for name, value in section.items()}
    wanted = {**values, "hidden": [31, 17], "epochs": 2, "seed": 5, "gamma": 0.3}
    assert {name: keys[name] for name in wanted} == wanted


def noisy():
    X, y = blobs(200, 3)
    return X, np.where(np.random.default_rng(0).random(200) < 0.5, y, 0)


def test_each_fit_of_a_warm_start_finds_its_own_best_epoch():
    X, y = noisy()
    Xv, yv = blobs(100, 4)
    clf = small(hidden=(64,), max_iter=100, warm_start=True, learning_rate=0.02)
    clf.fit(X, y, eval_set=(Xv, yv))
    before = len(clf.history_)
    clf.fit(X, y, eval_set=(Xv, yv))
    losses = [record["valid_loss"] for record in clf.history_[before:]]
    assert min(losses) > min(record["valid_loss"] for record in clf.history_[:before]), "else this cannot tell"
    rows = clf.predict_proba(Xv)[np.arange(len(yv)), np.searchsorted(clf.classes_, yv)]
    assert -np.log(rows).mean() == pytest.approx(min(losses), rel=1e-4)
    assert min(losses) < losses[-1], "this test needs a training that gets worse"


def test_patience_of_one_call_does_not_end_the_next_ones():
    X, y = noisy()
    clf = small(hidden=(64,), max_iter=60, early_stopping=2, valid_fraction=0.2, warm_start=True, learning_rate=0.02)
    first = len(clf.fit(X, y).history_)
    assert first < 60 and len(clf.fit(X, y).history_) > first
    clf = small(early_stopping=2, valid_fraction=0.2, learning_rate=0.02)
    for _ in range(30):
        clf.partial_fit(X, y)
    assert clf.n_iter_ == 30


def test_partial_fits_scale_all_samples_as_the_first_ones():
    X, y = blobs(200, 5)
    clf = small(scale="standard")
    for _ in range(30):
        clf.partial_fit(X, y)
        clf.partial_fit(X + 10, y)
    assert clf.score(X, y) > 0.8 and clf.score(X + 10, y) > 0.8


def test_weights_in_bfloat16_are_predicted_with_and_exported_as_floats(problem, tmp_path):
    X, y, Xt, yt = problem
    config = {"model.weights": "bf16"}
    clf = small(optimizer="set-sgd", momentum=0.0, max_iter=30, config=config, learning_rate=0.05).fit(X, y)
    assert clf.score(Xt, yt) > 0.8
    clf.model_.export(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as arrays:
        assert np.array_equal(arrays["layers.0.weight.data"], clf.model_.weights[0].data)
    nnz = clf.model_.nnz
    model = clf.model_
    del clf
    assert model.prune(connections="magnitude:0.5").nnz < nnz


def test_averages_are_refused_by_partial_fit(problem):
    X, y, *_ = problem
    with pytest.raises(ConfigError, match="train.ema_decay"):
        small(config={"train.ema_decay": 0.99}).partial_fit(X, y)


def test_a_warm_start_without_its_training_takes_new_labels(problem):
    X, y, *_ = problem
    clf = pickle.loads(pickle.dumps(small(warm_start=True).fit(X, y)))
    assert list(clf.fit(X, y + 5).classes_) == [5, 6, 7]
