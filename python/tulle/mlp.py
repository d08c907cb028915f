"""Truly sparse multilayer perceptrons as scikit-learn estimators."""

import numpy as np

from . import _config, _core, _weights
from ._arrays import as_f32, converted, features
from ._fitted import Fitted
from ._sklearn import (
    BaseEstimator,
    ClassifierMixin,
    RegressorMixin,
    check_classification_targets,
    check_is_fitted,
    classes_of,
    numbers_of,
    seed_of,
    store,
    validate_data,
    validation_pair,
)
from .errors import ConfigError
from .model import load

# Inputs per neuron that a layer keeps on average, however low the density: fewer learn nothing on small data.
_LEAST_FAN_IN = 8

# What has just grown needs some steps to show what it is worth; RigL's interval (arXiv 1911.11134).
_STEPS_BETWEEN_EVENTS = 100

# Epochs that early_stopping=True waits for, as many as scikit-learn's perceptrons do.
_PATIENCE = 10


class _SparseMLP(Fitted, BaseEstimator):
    """What classifier and regressor share."""

    # -- the engine's keys

    def _settings(self, samples, seed):
        patience = _PATIENCE if self.early_stopping is True else self.early_stopping or 0
        settings = {
            "run.seed": seed,
            "run.threads": self.threads,
            "model.hidden": [int(width) for width in np.atleast_1d(self.hidden)],
            "model.activation": self.activation,
            "model.alpha": self.alpha,
            "model.dropout": self.dropout,
            "topology.distribution": "epsilon" if self.epsilon is not None else self.distribution,
            "topology.density": self.density,
            "topology.epsilon": self.epsilon,
            "topology.weight_init": self.weight_init,
            "topology.fan": self.fan,
            "train.optimizer": self.optimizer,
            "train.learning_rate": self.learning_rate,
            "train.momentum": self.momentum,
            "train.weight_decay": self.weight_decay,
            "train.batch_size": min(200, max(64, samples // 8)) if self.batch_size == "auto" else self.batch_size,
            "train.epochs": self.max_iter,
            "train.schedule": self.schedule,
            "train.early_stopping": patience,
            "evolve.rule": self.rule,
            "evolve.zeta": self.zeta,
            "evolve.grow_init": "zero",
            "evolve.update_every": self.update_every,
            "data.scale": self.scale,
            "data.valid_fraction": self.valid_fraction if patience else 0.0,
            "parallel.mode": "none",
            "checkpoint.save_every": "never",
        }
        settings.update({_config.full_name(key): value for key, value in (self.config or {}).items()})
        if settings["evolve.update_every"] == "auto":
            batch = _config.make({"train.batch_size": settings["train.batch_size"]}).get("train.batch_size")
            steps = -(-samples // int(batch))
            short = steps < _STEPS_BETWEEN_EVENTS
            settings["evolve.update_every"] = f"{_STEPS_BETWEEN_EVENTS} step" if short else "1 epoch"
        return settings

    def _make_config(self, samples, features_in, outputs, seed):
        settings = self._settings(samples, seed)
        if "topology.budgets" not in settings:
            # The estimators' own rule (not the papers'): tiny layers keep enough inputs to learn anything.
            drawn = _config.make(settings)
            sizes = [features_in, *settings["model.hidden"], outputs]
            budgets = drawn.budgets(sizes)
            least = [min(n_in, _LEAST_FAN_IN) * n_out for n_in, n_out in zip(sizes, sizes[1:])]
            if any(budget < low for budget, low in zip(budgets, least)):
                settings["topology.distribution"] = "explicit"
                settings["topology.budgets"] = [max(pair) for pair in zip(budgets, least)]
        return _config.make(settings)

    # -- data

    def _dataset(self, X, labels, weights, class_names, eval_set=None):
        valid, valid_labels = None, None
        if eval_set is not None:
            inputs, outputs = validation_pair(eval_set)
            valid = features(validate_data(self, inputs, reset=False, **self._input_rules()), _core)
            valid_labels = self._encode(outputs)
        return _core.dataset(
            self._config_, features(X, _core), labels, class_names, valid, valid_labels, _weights.for_engine(weights)
        )

    def _input_rules(self):
        return {"accept_sparse": "csr", "dtype": [np.float32, np.uint8, np.float64]}

    # -- training

    def _start(self, X, labels, weights, class_names, outputs, eval_set=None):
        self._config_ = self._make_config(X.shape[0], X.shape[1], outputs, seed_of(self.random_state))
        _core.set_threads(int(self.threads))
        data = self._dataset(X, labels, weights, class_names, eval_set)
        self._begin(data)
        return data

    def _fit(self, X, labels, sample_weight, class_names, outputs, eval_set, callbacks):
        X, labels, weights = _weights.present(X, labels, sample_weight)
        goes_on = self.warm_start and getattr(self, "_training", None) is not None
        config = self._config_ if goes_on else _config.make(self._settings(len(labels), seed=0))
        if _takes_all_at_once(config, len(labels)):
            X, labels, weights = _weights.merged(X, labels, weights)
        if goes_on:
            if self._training.model().outputs != outputs or self._training.model().inputs != X.shape[1]:
                raise ValueError("warm_start, found data of other features or outputs, expected those of the first fit")
            data = self._dataset(X, labels, weights, class_names, eval_set)
            epochs = self._training.epoch + self.max_iter
        else:
            data = self._start(X, labels, weights, class_names, outputs, eval_set)
            epochs = self.max_iter
        return self._train(data, epochs, callbacks)

    def _goes_on(self):
        """Whether there is a training that partial_fit goes on with; a model alone would be lost to a new one."""
        training = getattr(self, "_training", None)
        if training is None and hasattr(self, "model_"):
            raise ValueError("partial_fit, found a model from a pickle, copy or file, which only predicts; fit trains anew")
        return training is not None

    def _partial_fit(self, first, X, labels, sample_weight, class_names, outputs):
        if float(_config.make(self._settings(len(labels), seed=0)).get("train.ema_decay")) > 0:
            # Each call ends with the average, which the next one would go on from.
            raise ConfigError("train.ema_decay, found some, expected 0 with partial_fit")
        X, labels, weights = _weights.present(X, labels, sample_weight)
        if first:
            data = self._start(X, labels, weights, class_names, outputs)
        else:
            data = self._dataset(X, labels, weights, class_names)
        # Never the last epoch, whose end would be without a topology event.
        epoch = self._training.epoch + 1
        return self._train(data, max(self.max_iter, epoch + 1), (), until=epoch)

    def _outputs(self, X):
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, **self._input_rules())
        _core.set_threads(int(self.threads))
        return self.model_.forward(X)

    # -- what was learnt

    @property
    def input_degree_(self):
        """Connections that each feature kept."""
        first = self.weights_[0]
        if isinstance(first, np.ndarray):
            return np.full(first.shape[1], first.shape[0])
        return np.bincount(first.indices, minlength=first.shape[1])

    @classmethod
    def load(cls, path, **parameters):
        """A fitted estimator from a model file; it predicts, and cannot go on training.

        The file has labels as text. A classifier takes whole numbers for such if all are ("0", "-1", not "01" or "1.0"),
        whatever they were; all other labels come back as text, truth values and fractions too. A pickle keeps their type.
        """
        estimator = cls(**parameters)
        estimator._take(load(path))
        return estimator

    def _take(self, model):
        self.model_ = model
        self.n_features_in_ = model.n_features
        self.n_iter_ = 1

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _takes_all_at_once(config, samples):
    """Whether a batch holds all samples and nothing draws or counts single ones: neither order nor repetition matters."""
    return (
        int(config.get("train.batch_size")) >= samples
        and config.get("data.scale") != "standard"
        and not float(config.get("model.dropout"))
        and not float(config.get("data.valid_fraction"))
    )


class SparseMLPClassifier(ClassifierMixin, _SparseMLP):
    """A truly sparse multilayer perceptron: memory and time of everything grow with its connections.

    Parameters are config keys of ``tulle train`` by their leaf names (``tulle list config``), but for scikit-learn's
    own names ``random_state``, ``max_iter``, ``verbose``; ``config`` takes every other key.

    hidden            neurons of each hidden layer
    density, distribution   share of all connections, and how layers share it; ``epsilon`` given: SET's law instead
    rule, zeta, update_every   how the topology evolves (arXiv 2102.01732; ``tulle list rules``); "auto": once an
                      epoch, but not before 100 steps
    batch_size        "auto": an eighth of the samples, from 64 to 200
    early_stopping    epochs of patience on the validation loss (0: off, True: 10); validation samples are ``eval_set`` or
                      ``valid_fraction`` of the training data
    threads           0: all cores. The result does not depend on it
    config            {"evolve.drop": "mest", ...}

    A layer keeps at least min(n_in, 8) inputs per neuron on average.

    After fit: ``classes_``, ``weights_`` (SciPy, no copy), ``biases_``, ``nnz_``, ``density_``, ``input_degree_``,
    ``loss_curve_``, ``validation_scores_``, ``history_`` (one record an epoch), ``n_iter_``, ``model_``.
    """

    def __init__(
        self, hidden=(100,), density=0.1, epsilon=None, distribution="erk", activation="relu", alpha=0.6, dropout=0.0,
        optimizer="adam", learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, batch_size="auto", max_iter=200,
        schedule="constant", rule="set", zeta=0.3, update_every="auto", early_stopping=0, valid_fraction=0.1,
        weight_init="he-uniform", fan="sparse", scale="none", class_weight=None, warm_start=False, threads=0,
        random_state=None, verbose=0, config=None,
    ):  # fmt: skip
        store(self, locals())

    def _settings(self, samples, seed):
        settings = super()._settings(samples, seed)
        settings["model.loss"] = "cross-entropy"
        if isinstance(self.class_weight, dict):
            classes = self.classes_.tolist()
            strangers = [label for label in self.class_weight if label not in classes]
            if strangers and any(label not in self.class_weight for label in classes):  # else: a fold without some class
                raise ValueError(f"class_weight, found labels {strangers}, expected those of classes_")
            weights = [float(self.class_weight.get(label, 1.0)) for label in self.classes_]
            settings["train.class_weights"] = ",".join(map(repr, weights))
        elif self.class_weight is not None:
            settings["train.class_weights"] = self.class_weight
        return settings

    def _encode(self, y):
        return numbers_of(y, self.classes_)

    def _take_labels(self, y, classes=None):
        check_classification_targets(y)
        self.classes_ = classes_of(y if classes is None else classes)
        return [str(label) for label in self.classes_]

    def fit(self, X, y, sample_weight=None, eval_set=None, callbacks=()):
        """Trains anew, or on with ``warm_start``. X: [n, features], dense or sparse rows (which stay sparse).

        sample_weight   [n], 0 or more: what each sample counts in the loss; only proportions matter, 0 leaves it out
        eval_set        (X, y) to validate on after each epoch; the result is then the epoch of lowest validation loss
        callbacks       :mod:`tulle.callbacks`
        Raises ValueError for NaN, one class, features or labels that do not fit; DivergedError; what a callback raises.
        """
        X, y = validate_data(self, X, y, **self._input_rules())
        if not (self.warm_start and getattr(self, "_training", None) is not None):
            self._names = self._take_labels(y)
        return self._fit(X, self._encode(y), sample_weight, self._names, len(self.classes_), eval_set, callbacks)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """One epoch over these samples, weighted as in fit.

        The first call needs ``classes``, all there will ever be, unless y has them.
        """
        first = not self._goes_on()
        X, y = validate_data(self, X, y, reset=first, **self._input_rules())
        if first:
            self._names = self._take_labels(y, classes)
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError("classes, found others than in the first call to partial_fit")
        return self._partial_fit(first, X, self._encode(y), sample_weight, self._names, len(self.classes_))

    def predict_proba(self, X):
        """[n, classes]; rows sum to 1. A sample's row does not depend on the samples beside it."""
        return self._outputs(X)

    def predict_log_proba(self, X):
        with np.errstate(divide="ignore"):
            return np.log(self._outputs(X))

    def decision_function(self, X):
        """Log-odds of the second of two classes [n], or log-probabilities [n, classes]."""
        scores = self.predict_log_proba(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X):
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]

    def _take(self, model):
        super()._take(model)
        names = model.classes
        plain = all(name.removeprefix("-").isdecimal() and str(int(name)) == name for name in names)
        self.classes_ = np.asarray([int(name) for name in names] if plain else names)


class SparseMLPRegressor(RegressorMixin, _SparseMLP):
    """The same for numbers: squared error, one target or several. Parameters as :class:`SparseMLPClassifier`."""

    def __init__(
        self, hidden=(100,), density=0.1, epsilon=None, distribution="erk", activation="relu", alpha=0.6, dropout=0.0,
        optimizer="adam", learning_rate=1e-3, momentum=0.9, weight_decay=1e-4, batch_size="auto", max_iter=200,
        schedule="constant", rule="set", zeta=0.3, update_every="auto", early_stopping=0, valid_fraction=0.1,
        weight_init="he-uniform", fan="sparse", scale="none", warm_start=False, threads=0, random_state=None, verbose=0,
        config=None,
    ):  # fmt: skip
        store(self, locals())

    def _settings(self, samples, seed):
        return {**super()._settings(samples, seed), "model.loss": "mse", "data.task": "regression"}

    def _encode(self, y):
        y = as_f32(y, "y")
        return converted(y.reshape(len(y), -1), np.float32)

    def _targets(self, X, y, first):
        X, y = validate_data(self, X, y, reset=first, multi_output=True, y_numeric=True, **self._input_rules())
        self._flat = y.ndim == 1
        return X, self._encode(y)

    def fit(self, X, y, sample_weight=None, eval_set=None, callbacks=()):
        """Trains anew, or on with ``warm_start``. y: [n] or [n, targets]; the rest as the classifier's."""
        X, targets = self._targets(X, y, first=True)
        return self._fit(X, targets, sample_weight, [], targets.shape[1], eval_set, callbacks)

    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over these samples, weighted as in fit."""
        first = not self._goes_on()
        X, targets = self._targets(X, y, first)
        return self._partial_fit(first, X, targets, sample_weight, [], targets.shape[1])

    def predict(self, X):
        """Float64, as scikit-learn's regressors give: [n], or [n, targets] as in fit."""
        outputs = self._outputs(X).astype(np.float64)
        return outputs[:, 0] if getattr(self, "_flat", True) and outputs.shape[1] == 1 else outputs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
