"""Products of SciPy's CSR matrices with dense arrays, by the engine's kernels; and random sparse patterns.

    from tulle import sparse
    W = sparse.uniform(1000, 784, density=0.05, values="he-uniform")
    Y = sparse.spmm(W, X)                       # X @ W.T, [batch, 1000]

A matrix is [n_out, n_in] with float32 values, int32 or int64 indices and canonical rows (sorted, no duplicates); dense
arrays are float32 in C order. Nothing else is converted behind your back: it is refused, with what would make it fit.
Explicit zeros are connections like any other. Bits do not depend on the number of threads.
"""

import numpy as np

from . import _core

__all__ = ["Operator", "epsilon", "erdos_renyi", "erk", "fixed_fan_in", "sddmm", "spmm", "spmm_t", "uniform"]


class Operator:
    """The products of one matrix W, with the orders that the kernels walk it in kept from call to call.

    For a pattern that is used more than once: :func:`spmm` and its like make one for each call. Values are read from
    ``W.data`` at every call, so they may be changed in place; what happens to ``W.indices`` is not seen. Memory: 28
    bytes a connection, as many again and 4 more after the first ``spmm_t``.
    """

    def __init__(self, W):
        if not all(hasattr(W, name) for name in ("indptr", "indices", "data", "has_canonical_format")):
            raise TypeError(f"W, found {type(W).__name__}, expected a SciPy csr_array or csr_matrix; tocsr() makes one")
        if W.format != "csr":
            raise TypeError(f"W, found format {W.format}, expected csr; W.tocsr() makes it so")
        _check("W.data", W.data, 1)
        if not W.has_canonical_format:
            raise ValueError("W, found unsorted or duplicate indices, expected none; W.sum_duplicates() makes it so")
        self._W = W
        self._product = _core.SparseProduct(*map(int, W.shape), W.indptr, W.indices)
        self._transpose = None

    shape = property(lambda self: self._product.shape, doc="(n_out, n_in)")
    nnz = property(lambda self: self._product.nnz, doc="Number of connections.")

    @property
    def values(self):
        """W's, in the order of its indices."""
        _check("W.data", self._W.data, 1)
        return self._W.data

    def spmm(self, X, out=None):
        """X @ W.T: [batch, n_out] from X [batch, n_in]. Cost: 2 * batch * nnz operations."""
        return _multiply(self._product, self.values, _samples("X", X, self.shape[1]), out)

    def spmm_t(self, G, out=None):
        """G @ W: [batch, n_in] from G [batch, n_out]. Cost: 2 * batch * nnz operations; the first call sorts W^T."""
        if self._transpose is None:
            self._transpose = self._product.transposed()
        product, order = self._transpose
        return _multiply(product, self.values[order], _samples("G", G, self.shape[0]), out)

    def sddmm(self, X, G):
        """The gradient of W's values where G is that of X @ W.T: [nnz], of the pattern alone.

        out[k] = sum over the batch of G[b, row(k)] * X[b, column(k)], for X [batch, n_in] and G [batch, n_out].
        """
        X, G = _samples("X", X, self.shape[1]), _samples("G", G, self.shape[0])
        if len(X) != len(G):
            raise ValueError(f"G, found {len(G)} samples, expected {len(X)}, as X has")
        values, bias = np.empty(self.nnz, np.float32), np.empty(self.shape[0], np.float32)
        self._product.backward(self.values, _core.gather(X), G, values, bias, None)
        return values


def spmm(W, X):
    """X @ W.T for W [n_out, n_in] and X [batch, n_in]."""
    return Operator(W).spmm(X)


def spmm_t(W, G):
    """G @ W for W [n_out, n_in] and G [batch, n_out]."""
    return Operator(W).spmm_t(G)


def sddmm(W, X, G):
    """Of X @ W.T, whose gradient is G, the gradient of W's values: [nnz]. See :meth:`Operator.sddmm`."""
    return Operator(W).sddmm(X, G)


def _check(name, array, dimensions):
    if not isinstance(array, np.ndarray) or array.ndim != dimensions:
        found = f"{array.ndim} dimensions" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name}, found {found}, expected a NumPy array of {dimensions}")
    if array.dtype != np.float32:
        raise TypeError(f"{name}, found dtype {array.dtype}, expected float32; astype(numpy.float32) makes it so")
    if not array.flags.c_contiguous:
        raise TypeError(f"{name}, found strided memory, expected C order; numpy.ascontiguousarray makes it so")


def _samples(name, array, features):
    _check(name, array, 2)
    if array.shape[1] != features:
        raise ValueError(f"{name}, found {array.shape[1]} features, expected {features}")
    return array


def _multiply(product, values, X, out):
    shape = (len(X), product.shape[0])
    if out is None:
        out = np.empty(shape, np.float32)
    _check("out", out, 2)
    if out.shape != shape:
        raise ValueError(f"out, found shape {out.shape}, expected {shape}")
    if not out.flags.writeable:
        raise ValueError("out, found a read-only array, expected one that may be written")
    product.forward(values, None, X, out)
    return out


# -- patterns: csr_array [n_out, n_in], the same for the same seed on every machine


def uniform(n_out, n_in, density, values="zero", seed=0):
    """The nearest whole number to density * n_out * n_in connections, every set of that size equally likely.

    values: the name of a law of start values ("zero", "he-uniform", "xavier", ...), with each output's true number of
    connections for its fan in.
    """
    return _draw("uniform", [n_in, n_out], values, seed, density=density)[0]


def erdos_renyi(n_out, n_in, epsilon=20.0, values="zero", seed=0):
    """min(epsilon * (n_in + n_out), n_in * n_out) connections (Mocanu et al. 2018). values: as :func:`uniform`."""
    return _draw("epsilon", [n_in, n_out], values, seed, epsilon=epsilon)[0]


epsilon = erdos_renyi  # what config keys call it


def fixed_fan_in(n_out, n_in, fan_in, values="zero", seed=0):
    """Every output has exactly ``fan_in`` inputs. values: as :func:`uniform`."""
    return _draw("fixed-fan-in", [n_in, n_out], values, seed, fan_in=fan_in)[0]


def erk(sizes, density, values="zero", seed=0):
    """One pattern for each layer sizes[l] -> sizes[l + 1], of ``density`` together (Evci et al. 2020).

    A layer's density is proportional to (n_in + n_out) / (n_in * n_out), at most 1. values: as :func:`uniform`.
    """
    return _draw("erk", sizes, values, seed, density=density)


def _draw(distribution, sizes, values, seed, density=0.1, epsilon=20.0, fan_in=16):
    import scipy.sparse

    sizes = [int(size) for size in sizes]
    patterns = _core.draw(distribution, sizes, density, epsilon, fan_in, seed)
    matrices = []
    for layer, (row_ptr, columns) in enumerate(patterns):
        shape = sizes[layer + 1], sizes[layer]
        data = _core.start_values(values, *shape, row_ptr, columns, seed, layer)
        # SciPy copies the indices to int64 unless both are int32.
        if columns.size < 2**31:
            row_ptr = row_ptr.astype(np.int32)
        matrix = scipy.sparse.csr_array((data, columns, row_ptr), shape=shape)
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        matrices.append(matrix)
    return matrices
