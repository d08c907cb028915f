"""Every reader of data files as a function: files in, arrays out. ``tulle list readers`` tells what they read."""

import numpy as np

from . import _core


def read(path, format="auto", **options):
    """(X, y) of one file or folder of images.

    X is an ndarray [n, features] (uint8 for pixels, else float32) or a ``csr_array``; y is None, an array of numbers, a
    list of names, or for several labels a sample a ``csr_array`` of ones. Options are those of the reader: ``sep``,
    ``header``, ``label_column``, ``index_base``, ``duplicates``, ``arrays``, ``resize``, ``features``, ``max_rows``,
    ``allow_nonfinite``. Raises MissingInputError, DataError with file and line.
    """
    inputs, labels, image = _core.read(str(path), format, **options)
    if isinstance(inputs, tuple):
        inputs = _csr(inputs[2], inputs[1], inputs[0], inputs[3])
    return inputs, _labels(labels)


def read_labels(path, format="auto"):
    """The labels of a file that holds labels alone: an IDX or array of one dimension, an array or separated values of
    one column.
    """
    return _labels(_core.read_labels(str(path), format))


def fashion_mnist():
    """(X_train, y_train, X_test, y_test) of Debian's package dataset-fashion-mnist, or of $TULLE_FASHION_MNIST.

    X: uint8 [n, 784], y: int64. Raises MissingInputError that names the package.
    """
    files = _core.fashion_mnist()
    return tuple(
        read_labels(path, "idx").astype(np.int64) if "labels" in path else read(path, "idx")[0] for path in files
    )


def _labels(labels):
    if isinstance(labels, tuple):
        row_ptr, numbers, count = labels
        return _csr(np.ones(numbers.size, np.float32), numbers, row_ptr, (row_ptr.size - 1, count))
    return labels


def _csr(values, columns, row_ptr, shape):
    import scipy.sparse

    if values.size < 2**31:
        row_ptr = row_ptr.astype(np.int32)
    return scipy.sparse.csr_array((values, columns, row_ptr), shape=shape)


def _reader(name, help_text):
    def reader(path, **options):
        return read(path, name, **options)

    reader.__name__ = reader.__qualname__ = name.replace("-", "_")
    reader.__doc__ = f"{help_text}\n\nAs :func:`read` with ``format='{name}'``."
    return reader


# One function a reader of the engine's table.
__all__ = ["read", "read_labels", "fashion_mnist"]
for _name, _help in _core.reader_names():
    if _name not in ("auto", "fashion-mnist", "synthetic"):
        _function = _reader(_name, _help)
        globals()[_function.__name__] = _function
        __all__.append(_function.__name__)
del _name, _help, _function
