"""What samples count: ``sample_weight`` of fit and partial_fit."""

from hashlib import blake2b
from math import fsum

import numpy as np

from ._arrays import is_sparse, taken


def present(X, labels, sample_weight):
    """(X, labels, weights): float64 weights [n], or None, of all samples but those of weight 0.

    One number is that number for every sample. Raises ValueError for another shape, NaN, infinity, negative numbers, and
    zeros alone.
    """
    if sample_weight is None:
        return X, labels, None
    samples = len(labels)
    weights = np.asarray(taken(sample_weight), dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(samples, weights)
    if weights.shape != (samples,):
        raise ValueError(f"sample_weight, found shape {weights.shape}, expected ({samples},), a number each sample")
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight, found NaN or infinity, expected finite numbers")
    if (weights < 0).any():
        raise ValueError(f"Negative values in data passed to `sample_weight`: found {weights.min()}, expected 0 or more")
    if not weights.any():
        raise ValueError("sample_weight, found zero for every sample, expected at least one above")
    if weights.all():
        return X, labels, weights
    rows = np.flatnonzero(weights)
    return X[rows], labels[rows], weights[rows]


def merged(X, labels, weights):
    """(X, labels, weights) with equal samples made one that has the sum of their weights, in an order of their own.

    The order follows from what samples hold, so that neither the order they came in nor their repetition changes a bit of
    a training that takes all of them at once. Samples that all differ and count the same stay as they are. Cost: one read.
    """
    places = {}
    for row in range(len(labels)):
        places.setdefault(_digest(X, labels, row), []).append(row)
    if len(places) == len(labels) and (weights is None or np.ptp(weights) == 0):
        return X, labels, weights
    groups = [places[digest] for digest in sorted(places)]
    firsts = [rows[0] for rows in groups]
    sums = [len(rows) if weights is None else fsum(weights[rows]) for rows in groups]
    return X[firsts], labels[firsts], np.array(sums, np.float64)


def _digest(X, labels, row):
    if is_sparse(X):
        stored = slice(X.indptr[row], X.indptr[row + 1])
        parts = (X.indices[stored], X.data[stored], labels[row])
    else:
        parts = (X[row], labels[row])
    return blake2b(b"".join(part.tobytes() for part in parts), digest_size=16).digest()


def for_engine(weights):
    """Float32 weights of mean 1, so that the size of a step stays what it is; None where all are alike."""
    if weights is None or np.ptp(weights) == 0:
        return None
    shares = weights / weights.max()
    return (shares * (len(shares) / fsum(shares))).astype(np.float32)
