"""The one place where arrays are converted: to what the engine takes, once, and counted."""

import numpy as np

_copied = 0


def bytes_copied():
    """Bytes of input arrays that had to be converted so far (``tulle.show_config()``)."""
    return _copied


def converted(array, dtype):
    """`array` in C order with `dtype`: itself, or a copy that is counted."""
    global _copied
    out = np.ascontiguousarray(array, dtype=dtype)
    if out is not array and not np.shares_memory(out, array):
        _copied += out.nbytes
    return out


def taken(array):
    """What hands out its memory by DLPack alone, as the ndarray of that memory; everything else as it is.

    Arrays that NumPy knows by itself (``__array__``: PyTorch's tensors of the CPU) need no help. Raises BufferError or
    TypeError for memory that is not the CPU's.
    """
    return np.from_dlpack(array) if hasattr(array, "__dlpack__") and not hasattr(array, "__array__") else array


def as_f32(array, what="X"):
    """Float32, C order. Raises ValueError for what is no number, and for numbers that float32 cannot hold."""
    array = np.asarray(taken(array))
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what}, found dtype {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        out = converted(array, np.float32)
    if out.dtype != array.dtype and array.dtype.kind == "f" and array.itemsize > 4:
        if not np.array_equal(np.isinf(out), np.isinf(array)):
            raise ValueError(f"{what}, found a number too large for float32, expected all below 3.4e38")
    return out


def as_i32(indices, what="indices"):
    """Int32, C order; never wraps around."""
    indices = np.asarray(taken(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{what}, found dtype {indices.dtype}, expected integers")
    if indices.dtype != np.int32 and indices.size and not (-(2**31) <= indices.min() and indices.max() < 2**31):
        raise ValueError(f"{what}, found one beyond int32, expected all below 2^31")
    return converted(indices, np.int32)


def is_sparse(X):
    """Whether X is one of SciPy's sparse matrices or arrays; does not import SciPy."""
    return hasattr(X, "tocsr") and hasattr(X, "nnz")


def csr_parts(W, what="matrix"):
    """(values float32, columns int32, row pointers int64, shape) of a sparse matrix or array with canonical rows."""
    W = W.tocsr()
    if not W.has_canonical_format:
        raise ValueError(f"{what}, found unsorted or duplicate indices, expected none; sum_duplicates() makes it so")
    return (
        as_f32(W.data, what),
        as_i32(W.indices, f"{what}.indices"),
        converted(W.indptr, np.int64),
        tuple(int(side) for side in W.shape),
    )


def features(X, core):
    """Samples as the engine keeps them: [n, features]; bytes stay bytes, sparse rows stay sparse."""
    if is_sparse(X):
        W = X.tocsr()
        if not W.has_canonical_format:
            W = W.copy()
            W.sum_duplicates()
        values, columns, row_ptr, shape = csr_parts(W, "X")
        return core.sparse_features(shape[0], shape[1], row_ptr, columns, values)
    X = np.asarray(taken(X))
    if X.ndim != 2:
        raise ValueError(f"X, found {X.ndim} dimensions, expected 2: [samples, features]")
    return core.features(converted(X, np.uint8) if X.dtype == np.uint8 else as_f32(X))
