"""Sparse recovery as a scikit-learn estimator."""

import json

import numpy as np

from . import _config, _core
from ._arrays import as_f32, converted, features, is_sparse
from ._fitted import Fitted
from ._sklearn import BaseEstimator, check_is_fitted, classes_of, numbers_of, seed_of, store, validate_data
from .model import Model


class SparseRecovery(Fitted, BaseEstimator):
    """Finds the sparse weights of a ReLU net by iterative hard thresholding (arXiv 2509.20323) and its successors.

    Memory grows with the nonzeros, not with the dense net. Parameters are keys of [recover] by their leaf names
    (``tulle list config``); ``config`` takes every other one.

    task      "regression", "classification", or "auto": classification where y are labels (text, bool or integers)
    method    strong, aiht, iht, htp, imp (``tulle list recover-methods``)
    hidden_width, nnz   neurons of the net, nonzeros of its weights at most
    scale     as in [data]: none, standard, minmax, ...

    After fit: ``model_``, ``weights_``, ``record_`` (what ``tulle recover`` prints, as a dict), ``nnz_``.
    """

    def __init__(
        self, method="strong", hidden_width=50, nnz=200, task="auto", steps=0, starts=0, hidden_layers=1, signs="auto",
        tolerance=1e-9, time_limit=0.0, scale="none", threads=0, random_state=None, config=None,
    ):  # fmt: skip
        store(self, locals())

    def fit(self, X, y):
        """X: dense [n, features]; y: labels, [n] numbers, or [n, targets]."""
        if self.task not in ("auto", "regression", "classification"):
            raise ValueError(f"task, found '{self.task}', expected auto, regression or classification")
        if is_sparse(X):
            raise TypeError("X, found sparse rows, expected a dense array: features are read one by one")
        X, y = validate_data(self, X, y, dtype=[np.float32, np.uint8, np.float64], multi_output=True)
        classify = self.task == "classification" or (self.task == "auto" and y.dtype.kind in "OUSbiu")
        if classify:
            self.classes_ = classes_of(y)
            labels, names = numbers_of(y, self.classes_), [str(c) for c in self.classes_]
        else:
            self.__dict__.pop("classes_", None)
            labels, names = converted(as_f32(y, "y").reshape(len(y), -1), np.float32), []
        seed = seed_of(self.random_state)
        settings = {
            "run.seed": seed, "run.threads": self.threads, "recover.task": "classify", "recover.method": self.method,
            "recover.hidden_width": self.hidden_width, "recover.nnz": self.nnz, "recover.steps": self.steps,
            "recover.starts": self.starts, "recover.hidden_layers": self.hidden_layers, "recover.signs": self.signs,
            "recover.tolerance": self.tolerance, "recover.time_limit": self.time_limit, "data.scale": self.scale,
        }  # fmt: skip
        settings.update(self.config or {})
        config = _config.make(settings)
        _core.set_threads(int(self.threads))
        data = _core.dataset(config, features(X, _core), labels, names)
        handle, record = _core.recover(config, data, "")
        self.model_, self.record_ = Model(handle), json.loads(record)
        self._flat = y.ndim == 1
        return self

    def predict(self, X):
        """Labels, or numbers as y had them."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=[np.float32, np.uint8, np.float64])
        outputs = self.model_.forward(X)
        if hasattr(self, "classes_"):
            if outputs.shape[1] == 1:  # of two classes: 0 and 1 of one output
                return self.classes_[(outputs[:, 0] > 0.5).astype(int)]
            return self.classes_[outputs.argmax(axis=1)]
        outputs = outputs.astype(np.float64)
        return outputs[:, 0] if self._flat else outputs

    def score(self, X, y):
        """Accuracy of labels, R^2 of numbers."""
        from sklearn.metrics import accuracy_score, r2_score

        return (accuracy_score if hasattr(self, "classes_") else r2_score)(y, self.predict(X))
