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
    "seed_of",
    "store",
    "validate_data",
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
