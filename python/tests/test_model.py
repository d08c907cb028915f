"""Models as Python objects: arrays without copies, changes without surprises, bytes that are checked."""

import gc
import pickle

import numpy as np
import pytest
import scipy.sparse
from conftest import blobs

import tulle
from tulle import Model


def sparse_matrix(rows, columns, seed, density=0.4):
    random = np.random.default_rng(seed)
    return scipy.sparse.random_array((rows, columns), density=density, format="csr", dtype=np.float32, rng=random)


@pytest.fixture
def model():
    return Model.from_csr([sparse_matrix(12, 20, 0), sparse_matrix(3, 12, 1)], activation="all-relu", alpha=0.5)


def test_weights_share_memory_and_outlive_the_model(model):
    first, again = model.weights[0], model.weights[0]
    assert np.shares_memory(first.data, again.data) and np.shares_memory(first.indices, again.indices)
    assert not first.data.flags.writeable and not first.indices.flags.writeable
    assert first.has_canonical_format and first.indptr.dtype == first.indices.dtype == np.int32
    before = first.toarray()
    del model
    gc.collect()
    assert np.array_equal(first.toarray(), before)
    copied = tulle.show_config()["bytes_copied"]
    X, _ = blobs(10, 1)
    Model.from_csr([first]).forward(X)
    assert tulle.show_config()["bytes_copied"] == copied + 4 * 0 + 8 * first.indptr.size  # SciPy's int32 row pointers


def test_a_change_does_not_reach_arrays_that_somebody_holds(model):
    held = model.weights[0]
    before = held.toarray()
    with model.edit() as (weights, biases):
        weights[0].data[:] = 1
        biases[0][:] = 2
    assert np.array_equal(held.toarray(), before)
    assert set(model.weights[0].data) == {1.0} and set(model.biases[0]) == {2.0}
    with pytest.raises(ValueError, match="not finite"):
        with model.edit() as (weights, _):
            weights[0].data[0] = np.nan
    assert set(model.weights[0].data) == {1.0}


def test_pruning_makes_layers_smaller(model):
    held, connections = model.weights[0], model.nnz
    smaller = model.copy().prune(connections="magnitude:0.5")
    assert smaller.nnz < connections == model.nnz
    model.prune(neurons=0.5)
    assert model.weights[0].shape[0] <= 6 and model.weights[1].shape[1] == model.weights[0].shape[0] and held.shape[0] == 12
    for bad in ({}, {"neurons": 2.0}, {"connections": "magnitude"}):
        with pytest.raises(ValueError, match="found"):
            model.prune(**bad)


def test_bytes_pickles_and_files_are_the_same_model(model, tmp_path):
    X, _ = blobs(20, 3)
    wanted = model.forward(X)
    model.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == model.to_bytes()
    for other in (Model.from_bytes(model.to_bytes()), pickle.loads(pickle.dumps(model)), tulle.load(tmp_path / "m.safetensors")):
        assert np.array_equal(other.forward(X), wanted)


def test_every_cut_or_changed_file_is_refused(model):
    content = model.to_bytes()
    for length in (0, 7, 8, 100, len(content) // 2, len(content) - 1):
        with pytest.raises(tulle.errors.DataError):
            Model.from_bytes(content[:length])
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 200):
        broken = bytearray(content)
        broken[place] ^= 1 << random.integers(8)
        with pytest.raises(tulle.errors.DataError):
            Model.from_bytes(broken)
    with pytest.raises(tulle.errors.DataError):  # claims more than there is
        Model.from_bytes((1 << 40).to_bytes(8, "little") + b"{}")


def test_forward_takes_every_kind_of_samples(model):
    X = np.random.default_rng(0).integers(0, 256, (30, 20)).astype(np.uint8)
    wanted = model.forward(X.astype(np.float32))
    for samples in (X, X.astype(np.float64), scipy.sparse.csr_array(X.astype(np.float32)), np.asfortranarray(X).astype(np.int64)):
        assert np.abs(model.forward(samples) - wanted).max() < 1e-6
    assert model.forward(X[:0]).shape == (0, 3)
    assert list(model.predict(X)) == [str(c) for c in wanted.argmax(axis=1)]


@pytest.mark.parametrize(
    "weights, words",
    [
        ([], "weights, found none"),
        ([scipy.sparse.csr_array(np.eye(3, dtype=np.float32)), scipy.sparse.csr_array(np.eye(4, dtype=np.float32))], ""),
        ([scipy.sparse.csr_array((np.ones(2, np.float32), [1, 0], [0, 2]), shape=(1, 2))], "sum_duplicates"),
        ([scipy.sparse.csr_array((np.ones(2, np.float32), [1, 1], [0, 2]), shape=(1, 2))], "sum_duplicates"),
        ([np.array([["a"]])], "dtype"),
    ],
)
def test_matrices_that_cannot_be_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        Model.from_csr(weights)


def test_samples_that_cannot_be_are_refused(model):
    for bad, words in ((np.zeros((2, 5)), "5 features"), (np.zeros(20), "dimensions"), (np.zeros((2, 20), "U2"), "dtype")):
        with pytest.raises(ValueError, match=words):
            model.forward(bad)
    with pytest.raises(ValueError, match="indices out of order or range"):
        bad = scipy.sparse.csr_array((np.ones(1, np.float32), [0], [0, 1]), shape=(1, 20))
        bad.indices[0] = 20
        bad.has_canonical_format = True
        model.forward(bad)


def test_exports_say_what_they_are(model, tmp_path):
    X, _ = blobs(50, 3)
    facts = tulle.export_onnx(model, tmp_path / "m.onnx", form="coo")
    assert facts["bytes"] == (tmp_path / "m.onnx").stat().st_size
    model.export(tmp_path / "m.npz", "npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["layers.0.weight.data"], model.weights[0].data)
    tulle.export_c(model, tmp_path / "m.h", name="tiny", int8=True, X=X, y=model.predict(X))
    assert "tiny_predict" in (tmp_path / "m.h").read_text()
    facts = tulle.export_c(model, tmp_path / "bytes.h", int8_activations=True, X=X)
    assert "net_byte(" in (tmp_path / "bytes.h").read_text() and facts["max_difference"] > 0
    with pytest.raises(tulle.errors.ConfigError, match="format"):
        model.export(tmp_path / "m", "onix")
    model.export(tmp_path / "ending.h", name="tiny")
    assert "tiny_predict" in (tmp_path / "ending.h").read_text()
    with pytest.raises(tulle.errors.ConfigError, match="'.foo', expected one of .onnx"):
        model.export(tmp_path / "m.foo")


class ByDLPack:
    """Hands out the memory of an array by DLPack and by nothing else."""

    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **options):
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


def test_memory_by_dlpack_is_taken_where_it_lies(model):
    X = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    wanted, copied = model.forward(X), tulle.show_config()["bytes_copied"]
    assert np.array_equal(model.forward(ByDLPack(X)), wanted) and tulle.show_config()["bytes_copied"] == copied
    assert np.array_equal(model.forward(ByDLPack(X.astype(np.float64))), wanted)
    dense = Model.from_csr([ByDLPack(X), model.weights[1][:, :1] @ np.ones((1, 30), np.float32)], [ByDLPack(X[:, 0].copy()), np.zeros(3)])
    assert np.array_equal(dense.weights[0], X) and np.array_equal(dense.biases[0], X[:, 0])


def test_tensors_of_pytorch_come_in_and_weights_go_out(model):
    torch = pytest.importorskip("torch")
    X = np.random.default_rng(0).integers(0, 256, (30, 20)).astype(np.uint8)
    wanted = model.forward(X)
    for kind in (torch.uint8, torch.float32, torch.float64, torch.int64):
        assert np.abs(model.forward(torch.tensor(X).to(kind)) - wanted).max() < 1e-6
    W = model.weights[0]
    for array in (W.data, W.indices, W.indptr, model.biases[0]):
        tensor = torch.from_dlpack(array)
        assert tensor.data_ptr() == array.ctypes.data and np.array_equal(tensor.numpy(), array)
    with model.edit() as (weights, _):
        weights[0].data[:] = 2 * torch.from_dlpack(W.data)
    assert np.array_equal(model.weights[0].data, 2 * W.data)


def test_what_edit_changes_is_what_is_computed_with(model):
    X, _ = blobs(5, 6)
    with model.edit() as (weights, _):
        weights[0].data[:] = 0.5
        model.forward(X)
        weights[0].data[:] = -0.25
    assert np.array_equal(model.forward(X), model.copy().forward(X))
    before = model.to_bytes()
    with pytest.raises(KeyError), model.edit() as (weights, _):
        weights[0].data[0] = np.nan
        raise KeyError("stop")
    assert model.to_bytes() == before


def test_samples_that_an_export_cannot_be_compared_on_are_refused(model, tmp_path):
    X, y = blobs(50, 3)
    regression = Model.from_csr(model.weights, loss="mse")
    for of, samples, words in (
        (model, {"X": X, "y": ["a"] * 50}, r"y, found labels \['a'\], expected those of the model, \['0', '1', '2'\]"),
        (model, {"y": y}, "y, found labels without samples"),
        (regression, {"X": X, "y": y}, "y, found some, expected none"),
        (model, {"X": X[:, :7]}, "samples, found 7 features, expected 20"),
    ):
        with pytest.raises(ValueError, match=words):
            of.export(tmp_path / "m.h", **samples)
    assert not (tmp_path / "m.h").exists()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_weights_and_biases_that_are_no_numbers_are_refused(model, bad):
    weights, biases = [W.copy() for W in model.weights], [b.copy() for b in model.biases]
    biases[1][1] = bad
    with pytest.raises(ValueError, match="not finite"):
        Model.from_csr(weights, biases)
    weights[0].data[0] = bad
    with pytest.raises(ValueError, match="not finite"):
        Model.from_csr(weights)


def test_labels_of_other_samples_and_matrices_of_other_dimensions_are_refused(model, tmp_path):
    X, y = blobs(50, 3)
    with pytest.raises(ValueError, match="found 3 labels, expected 50"):
        model.export(tmp_path / "m.h", X=X, y=model.predict(X)[:3])
    with pytest.raises(ValueError, match="found 1 dimensions, expected 2"):
        tulle.Model.from_csr([np.zeros(3, np.float32)])
