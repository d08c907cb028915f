"""sMLPNet as a scikit-learn estimator."""

import numpy as np

from . import _config, _core
from ._arrays import features, taken
from ._fitted import Fitted
from ._sklearn import (
    BaseEstimator,
    ClassifierMixin,
    check_classification_targets,
    check_is_fitted,
    classes_of,
    numbers_of,
    seed_of,
    store,
    validation_pair,
)


class SMLPNetClassifier(ClassifierMixin, Fitted, BaseEstimator):
    """sMLPNet (arXiv 2109.05422) for images: mixing along rows, columns and the identity, no attention.

    X: images [n, height, width], [n, height, width, channels], or with ``channels="first"`` [n, channels, height,
    width]; uint8 is kept as bytes. Parameters are config keys by their leaf names; ``config`` takes every other one
    (``tulle list config``), e.g. ``config={"augment": ["hflip", "crop:0.5"], "topology.density": 0.1}``.

    variant   a name of ``tulle list variants``, or "none": patch, width, depths, expansion say it
    """

    def __init__(
        self, variant="none", patch=4, width=64, depths=(2, 2, 2), expansion=3, drop_path=0.0, density=1.0, rule="none",
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.05, batch_size=128, max_iter=20, schedule="cosine",
        scale="channel", channels="last", dtype="f32", threads=0, random_state=None, verbose=0, config=None,
    ):  # fmt: skip
        store(self, locals())

    def _planes(self, X):
        """[n, channels * height * width] as the engine has images, and (channels, height, width)."""
        if self.channels not in ("last", "first"):
            raise ValueError(f"channels, found {self.channels!r}, expected 'last' or 'first'")
        X = np.asarray(taken(X))
        if X.ndim == 3:
            X = X[:, None]
        elif X.ndim == 4 and self.channels == "last":
            X = np.moveaxis(X, 3, 1)
        elif X.ndim != 4:
            raise ValueError(f"X, found {X.ndim} dimensions, expected images: [n, height, width] or one more for channels")
        if X.dtype.kind == "f" and not np.isfinite(X).all():
            raise ValueError("X, found NaN or infinity, expected finite pixels")
        return X.reshape(len(X), int(np.prod(X.shape[1:]))), tuple(int(side) for side in X.shape[1:])

    def fit(self, X, y, eval_set=None, callbacks=()):
        """Trains anew. Raises ValueError for images that the network cannot take."""
        planes, shape = self._planes(X)
        if len(planes) == 0:
            raise ValueError("X, found no images, expected at least one of each class")
        y = np.asarray(taken(y))
        check_classification_targets(y)
        self.classes_ = classes_of(y)
        names = [str(label) for label in self.classes_]
        seed = seed_of(self.random_state)
        settings = {
            "run.seed": seed, "run.threads": self.threads, "model.kind": "smlp", "model.variant": self.variant,
            "model.dtype": self.dtype, "model.dropout": 0.0, "topology.distribution": "uniform",
            "topology.density": self.density, "evolve.rule": self.rule, "train.optimizer": self.optimizer,
            "train.learning_rate": self.learning_rate, "train.weight_decay": self.weight_decay,
            "train.batch_size": min(int(self.batch_size), len(planes)), "train.epochs": self.max_iter,
            "train.schedule": self.schedule, "data.scale": self.scale, "checkpoint.save_every": "never",
        }  # fmt: skip
        if self.variant == "none":
            settings |= {
                "model.patch": self.patch, "model.width": self.width, "model.depths": list(self.depths),
                "model.expansion": self.expansion, "model.drop_path": self.drop_path,
            }  # fmt: skip
        settings.update({_config.full_name(key): value for key, value in (self.config or {}).items()})
        self._config_ = _config.make(settings)
        _core.set_threads(int(self.threads))
        valid, valid_labels = None, None
        if eval_set is not None:
            inputs, outputs = validation_pair(eval_set)
            valid_planes, valid_shape = self._planes(inputs)
            _require_shape("eval_set", valid_shape, shape)
            valid, valid_labels = features(valid_planes, _core), numbers_of(outputs, self.classes_)
        data = _core.dataset(
            self._config_, features(planes, _core), numbers_of(y, self.classes_), names, valid, valid_labels, image=shape
        )
        self.image_shape_ = shape
        self._begin(data)
        return self._train(data, self.max_iter, callbacks)

    def predict_proba(self, X):
        """[n, classes]; rows sum to 1."""
        check_is_fitted(self, "model_")
        planes, shape = self._planes(X)
        _require_shape("X", shape, self.image_shape_)
        _core.set_threads(int(self.threads))
        return self.model_.forward(planes)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def _require_shape(what, found, expected):
    if found != expected:
        raise ValueError(f"{what}, found images of {found} (channels, height, width), expected {expected}")
