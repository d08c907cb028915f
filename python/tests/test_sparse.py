"""tulle.sparse beside SciPy, which is the oracle."""

import subprocess
import sys

import numpy as np
import pytest

scipy_sparse = pytest.importorskip("scipy.sparse")

from tulle import _core, sparse  # noqa: E402


def problem(n_out=70, n_in=60, batch=33, seed=0):
    random = np.random.default_rng(seed)
    W = sparse.uniform(n_out, n_in, 0.1, values="he-uniform", seed=seed)
    return W, *(random.normal(size=(batch, side)).astype(np.float32) for side in (n_in, n_out))


def tolerance(terms):
    """Of a sum of products of numbers below about 4."""
    return 16 * 4 * np.finfo(np.float32).eps * (terms + 1)


@pytest.mark.parametrize("shape", [(70, 60, 33), (1, 1, 1), (60, 70, 128), (5, 300, 130), (300, 5, 0)])
@pytest.mark.parametrize("form", ["csr_array", "csr_matrix"])
def test_products_are_scipys(shape, form):
    W, X, G = problem(*shape)
    W = getattr(scipy_sparse, form)(W)
    rows, columns = W.nonzero()
    np.testing.assert_allclose(sparse.spmm(W, X), (W @ X.T).T, rtol=0, atol=tolerance(shape[1]))
    np.testing.assert_allclose(sparse.spmm_t(W, G), (W.T @ G.T).T, rtol=0, atol=tolerance(shape[0]))
    gradient = np.einsum("bk,bk->k", G[:, rows], X[:, columns])
    np.testing.assert_allclose(sparse.sddmm(W, X, G), gradient, rtol=0, atol=tolerance(shape[2]))


def test_an_operator_reads_its_values_at_every_call():
    W, X, G = problem()
    operator = sparse.Operator(W)
    first, first_t = operator.spmm(X), operator.spmm_t(G)
    W.data *= 2
    np.testing.assert_array_equal(operator.spmm(X), 2 * first)
    np.testing.assert_array_equal(operator.spmm_t(G), 2 * first_t)
    assert operator.shape == (70, 60) and operator.nnz == W.nnz


def test_results_go_into_memory_that_is_there():
    W, X, _ = problem()
    out = np.full((33, 70), 9, np.float32)
    assert sparse.Operator(W).spmm(X, out) is out
    np.testing.assert_array_equal(out, sparse.spmm(W, X))


def test_results_do_not_go_into_memory_that_is_read_only():
    W, X, _ = problem()
    out = np.zeros((33, 70), np.float32)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out, found a read-only array"):
        sparse.Operator(W).spmm(X, out)
    assert not out.any()


def test_empty_rows_and_explicit_zeros_are_what_they_are():
    W = scipy_sparse.csr_array(
        (np.array([0, 2], np.float32), np.array([1, 3], np.int32), np.array([0, 0, 2, 2], np.int32)), shape=(3, 5)
    )
    X = np.ones((2, 5), np.float32)
    assert sparse.spmm(W, X).tolist() == [[0, 2, 0]] * 2
    assert sparse.sddmm(W, X, np.ones((2, 3), np.float32)).tolist() == [2, 2]


def test_wide_indices_are_read_as_they_are():
    W, X, _ = problem()
    wide = scipy_sparse.csr_array((W.data, W.indices.astype(np.int64), W.indptr.astype(np.int64)), shape=W.shape)
    assert wide.indices.dtype == np.int64
    np.testing.assert_array_equal(sparse.spmm(wide, X), sparse.spmm(W, X))


def test_an_index_beyond_int32_is_refused_and_does_not_wrap_around():
    with pytest.raises(ValueError, match="columns, found one beyond int32"):
        _core.SparseProduct(1, 5, np.array([0, 1]), np.array([2**32 + 1]))


def test_bits_do_not_depend_on_threads():
    W, X, G = problem(500, 400, 100)
    threads = _core.threads()
    results = []
    for count in (1, 2, 3):
        _core.set_threads(count)
        results.append((sparse.spmm(W, X), sparse.spmm_t(W, G), sparse.sddmm(W, X, G)))
    _core.set_threads(threads)
    for other in results[1:]:
        for found, expected in zip(other, results[0]):
            np.testing.assert_array_equal(found, expected)


def unsorted(W):
    W = W.copy()
    W.indices[:2] = W.indices[1::-1].copy()
    W.has_sorted_indices = W.has_canonical_format = False
    return W


@pytest.mark.parametrize(
    "change, kind, words",
    [
        (lambda W, X: (W.astype(np.float64), X), TypeError, "W.data, found dtype float64, expected float32"),
        (lambda W, X: (W.tocsc(), X), TypeError, "W, found format csc, expected csr"),
        (lambda W, X: (W.toarray(), X), TypeError, "W, found ndarray, expected a SciPy csr_array"),
        (lambda W, X: (scipy_sparse.coo_array(W), X), TypeError, "W, found coo_array"),
        (lambda W, X: (unsorted(W), X), ValueError, "W, found unsorted or duplicate indices"),
        (lambda W, X: (W, X.astype(np.float64)), TypeError, "X, found dtype float64, expected float32"),
        (lambda W, X: (W, np.asfortranarray(X)), TypeError, "X, found strided memory, expected C order"),
        (lambda W, X: (W, X[0]), TypeError, "X, found 1 dimensions"),
        (lambda W, X: (W, X.tolist()), TypeError, "X, found list"),
        (lambda W, X: (W, X[:, :-1].copy()), ValueError, "X, found 59 features, expected 60"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, kind, words):
    W, X, _ = problem()
    with pytest.raises(kind) as refused:
        sparse.spmm(*change(W, X))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_batches_and_outputs_must_agree():
    W, X, G = problem()
    with pytest.raises(ValueError, match="G, found 32 samples, expected 33"):
        sparse.sddmm(W, X, G[1:])
    with pytest.raises(ValueError, match="out, found shape"):
        sparse.Operator(W).spmm(X, np.empty((1, 1), np.float32))


def test_generators_give_the_numbers_that_they_promise():
    assert sparse.uniform(100, 50, 0.1).nnz == 500
    assert sparse.epsilon(100, 50, 2).nnz == sparse.erdos_renyi(100, 50, 2).nnz == 300
    assert np.diff(sparse.fixed_fan_in(100, 50, 7).indptr).tolist() == [7] * 100
    layers = sparse.erk([50, 100, 20], 0.1)
    assert [W.shape for W in layers] == [(100, 50), (20, 100)] and abs(sum(W.nnz for W in layers) - 700) <= 1
    assert layers[1].nnz / 2000 > layers[0].nnz / 5000


def test_generated_matrices_are_canonical_reproducible_and_start_as_asked():
    W, same, other = (sparse.uniform(100, 50, 0.1, values="he-uniform", seed=seed) for seed in (1, 1, 2))
    assert W.dtype == np.float32 and W.indices.dtype == W.indptr.dtype == np.int32
    checked = scipy_sparse.csr_array((W.data, W.indices, W.indptr), shape=W.shape)
    assert checked.has_canonical_format
    assert (W != same).nnz == 0 and not np.array_equal(W.indices, other.indices)
    bound = np.repeat(np.sqrt(6 / np.maximum(np.diff(W.indptr), 1)), np.diff(W.indptr))
    assert (np.abs(W.data) <= bound * (1 + 1e-6)).all() and np.abs(W.data / bound).max() > 0.95
    assert not sparse.uniform(100, 50, 0.1).data.any()
    with pytest.raises(ValueError, match="'he'"):
        sparse.uniform(10, 5, 0.1, values="he")


def test_importing_it_takes_numpy_alone():
    program = "import sys, tulle.sparse, tulle; print([m for m in ('scipy', 'torch', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
