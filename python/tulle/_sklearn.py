"""What the estimators share: scikit-learn, imported with a clear message where it is missing."""

import numpy as np

from ._arrays import taken

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
    from sklearn.utils.validation import validate_data as _validate_data
except ImportError as error:
    raise ImportError("tulle's estimators need scikit-learn 1.6 or newer: pip install tulle[sklearn]") from error

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "RegressorMixin",
    "check_classification_targets",
    "check_is_fitted",
    "classes_of",
    "numbers_of",
    "seed_of",
    "store",
    "validate_data",
    "validation_pair",
]


def validate_data(estimator, X, y="no_validation", **rules):
    """scikit-learn's function, for what hands out its memory by DLPack alone as well."""
    return _validate_data(estimator, taken(X), taken(y), **rules)


def store(estimator, arguments):
    """Keeps the arguments of __init__ as they are, as scikit-learn wants it: ``store(self, locals())``."""
    for name, value in arguments.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)


def seed_of(random_state):
    """``run.seed`` of scikit-learn's ``random_state``."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def classes_of(y):
    """The distinct labels in order; at least two."""
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"y, found 1 class ({classes[0]!r}), expected at least 2 classes")
    return classes


def numbers_of(y, classes):
    """The number of each label in `classes`, int32 [n]. Raises ValueError for labels that are not there."""
    y = np.asarray(taken(y)).ravel()
    places = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    unknown = classes[places] != y
    if unknown.any():
        raise ValueError(f"y, found labels {np.unique(y[unknown]).tolist()}, expected those of classes_")
    return places.astype(np.int32)


def validation_pair(eval_set):
    """(X, y) of ``eval_set``: such a tuple, or a list of one, as other packages have it."""
    pair = eval_set[0] if isinstance(eval_set, list) and len(eval_set) == 1 else eval_set
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError("eval_set, found something else, expected (X, y) or [(X, y)]")
    return pair
