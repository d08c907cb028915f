"""Files of ours in the hands of those who define them: onnx, onnxruntime, NumPy, SciPy, safetensors.

What the reader's own runtime computes from the file must be what `tulle predict` says.
"""

import csv
import io
import json

import numpy as np
import pytest

from conftest import REPOSITORY, checkpoints, idx_bytes, masked_network, package, write_network

FORMS = ["sparse-init", "ell", "coo", "auto"]
ACTIVATIONS = ["relu", "leaky-relu", "all-relu", "srelu", "sigmoid", "tanh", "gelu", "gelu-tanh", "identity"]
SIZES = [6, 16, 12, 3]
TOLERANCE = 1e-5


@pytest.fixture
def onnx():
    return package("onnx")


@pytest.fixture
def run_onnx(tmp_path, onnx):
    """outputs = run_onnx(file, inputs), after the official checks of the file."""
    onnxruntime = package("onnxruntime")

    def run(file, inputs, threads=1):
        model = onnx.load(tmp_path / file)
        # The shapes of what follows a sparse initializer cannot be inferred by onnx.
        onnx.checker.check_model(model, full_check=not model.graph.sparse_initializer)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(tmp_path / file, options, providers=["CPUExecutionProvider"])
        return session.run(None, {"input": inputs.astype(np.float32)})[0]

    return run


def inputs_of(folder, rows, features, seed=4):
    x = np.random.default_rng(seed).normal(0, 1.5, (rows, features)).astype(np.float32)
    (folder / "x.csv").write_text("\n".join(",".join(f"{v:.9g}" for v in row) for row in x) + "\n")
    return x


def predicted(tulle, model="m.safetensors", data="x.csv"):
    rows = list(csv.reader(io.StringIO(tulle("predict", model, f"--data={data}", "--label-column=none", check=True).out)))
    first = 0 if len(rows[0]) == 1 else 1
    return np.array([[float(value) for value in row[first:]] for row in rows[1:]])


def make_model(folder, tulle, *flags, sizes=SIZES, density=0.4):
    layers = masked_network(sizes, density)
    write_network(folder / "net.safetensors", layers)
    tulle("import", "net.safetensors", "-o", "m.safetensors", *flags, check=True)
    return layers


def test_the_activations_above_are_all_there_are(tulle):
    assert [row["name"] for row in json.loads(tulle("list", "activations", "--json", check=True).out)] == ACTIVATIONS


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("form", FORMS)
def test_onnx_gives_what_predict_gives(tmp_path, tulle, run_onnx, form, activation):
    make_model(tmp_path, tulle, f"--activation={activation}")
    x = inputs_of(tmp_path, 7, 6)
    expected = predicted(tulle)
    tulle("export", "m.safetensors", "--onnx=m.onnx", f"--onnx-form={form}", check=True)
    outputs = run_onnx("m.onnx", x)
    assert outputs.shape == (7, 3) and np.abs(outputs - expected).max() < TOLERANCE
    for row in range(7):
        assert np.abs(run_onnx("m.onnx", x[row : row + 1]) - expected[row]).max() < TOLERANCE
    assert np.ptp(expected, axis=0).max() > 100 * TOLERANCE  # the samples do make a difference


def test_only_the_dense_layer_is_stored_dense(tmp_path, tulle, onnx):
    make_model(tmp_path, tulle)
    for form in FORMS:
        tulle("export", "m.safetensors", "--onnx=m.onnx", f"--onnx-form={form}", check=True)
        graph = onnx.load(tmp_path / "m.onnx").graph
        shapes = {tuple(tensor.dims) for tensor in graph.initializer}
        assert (3, 12) in shapes and (16, 6) not in shapes and (12, 16) not in shapes
        assert len(graph.sparse_initializer) == (2 if form == "sparse-init" else 0)


@pytest.mark.parametrize("form", FORMS)
def test_wide_layers_are_right_on_several_threads(tmp_path, tulle, run_onnx, form):
    make_model(tmp_path, tulle, sizes=[500, 700, 600, 4], density=0.02)
    x = inputs_of(tmp_path, 33, 500)
    tulle("export", "m.safetensors", "--onnx=m.onnx", f"--onnx-form={form}", check=True)
    expected = predicted(tulle)
    for _ in range(20):  # sums that threads spoil are not spoilt every time
        assert np.abs(run_onnx("m.onnx", x, threads=4) - expected).max() < TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_without_any_connection_gives_its_biases(tmp_path, tulle, run_onnx, form):
    layers = make_model(tmp_path, tulle, density=0.0)
    x = inputs_of(tmp_path, 7, 6)
    tulle("export", "m.safetensors", "--onnx=m.onnx", f"--onnx-form={form}", check=True)
    assert np.abs(run_onnx("m.onnx", x) - predicted(tulle)).max() < TOLERANCE
    assert all(not weight.any() for weight, _ in layers[:-1])


@pytest.mark.parametrize("loss, output", [("bce", "probabilities"), ("cross-entropy", "probabilities"), ("mse", "values")])
def test_outputs_mean_what_the_loss_makes_of_them(tmp_path, tulle, run_onnx, onnx, loss, output):
    last = 1 if loss == "mse" else 3
    make_model(tmp_path, tulle, f"--loss={loss}", sizes=[6, 16, last])
    x = inputs_of(tmp_path, 7, 6)
    tulle("export", "m.safetensors", "--onnx=m.onnx", check=True)
    assert np.abs(run_onnx("m.onnx", x) - predicted(tulle)).max() < TOLERANCE * (10 if loss == "mse" else 1)
    assert onnx.load(tmp_path / "m.onnx").graph.output[0].name == output


def test_sums_before_softmax_are_given_where_wanted(tmp_path, tulle, run_onnx):
    make_model(tmp_path, tulle)
    x = inputs_of(tmp_path, 7, 6)
    tulle("export", "m.safetensors", "--onnx=m.onnx", "--no-softmax", check=True)
    e = np.exp(run_onnx("m.onnx", x).astype(np.float64))
    assert np.abs(e / e.sum(axis=1, keepdims=True) - predicted(tulle)).max() < TOLERANCE
    assert np.abs(e.sum(axis=1) - 1).min() > 1e-3


@pytest.fixture
def constant_feature(problem, tulle):
    """A trained model; its data have a feature that does not vary in training, but does afterwards."""
    for name in ("train", "test"):
        rows = (problem / f"{name}.csv").read_text().splitlines()
        (problem / f"{name}.csv").write_text("\n".join("3.5," + row for row in rows) + "\n")
    tulle("train", "config.toml", "--epochs=2", "-q", check=True)
    return problem


@pytest.mark.parametrize("form", FORMS)
def test_raw_features_are_scaled_and_a_constant_one_stays_without_effect(constant_feature, tulle, run_onnx, form):
    model = "out/run/model.safetensors"
    x = inputs_of(constant_feature, 7, 7)
    tulle("export", model, "--onnx=m.onnx", f"--onnx-form={form}", "--npz=m.npz", check=True)
    tulle("export", model, "--onnx=scaled.onnx", f"--onnx-form={form}", "--no-preprocess", check=True)
    expected = predicted(tulle, model)
    assert np.abs(run_onnx("m.onnx", x) - expected).max() < TOLERANCE
    with np.load(constant_feature / "m.npz", allow_pickle=False) as arrays:
        mean, deviation = arrays["data.mean"], arrays["data.std"]
    assert deviation[0] == 0 and (deviation[1:] > 0).all()
    scaled = np.divide(x - mean, deviation, where=deviation > 0, out=np.zeros_like(x))
    assert np.abs(run_onnx("scaled.onnx", scaled) - expected).max() < TOLERANCE


# Sides that are not equal, one of them odd at a merge; colours with black pixels around, more of them below and right.
IMAGES = {
    "dense": ((12, 20), ["--patch=2", "--depths=1,2,1"]),
    "sparse": ((3, 7, 7), ["--patch=2", "--image-size=10", "--depths=1,1", "--density=0.3"]),
}


@pytest.fixture(params=IMAGES)
def image_model(request, tmp_path, tulle):
    """Images of a small sMLPNet after some steps, in x.idx: their pixels, [image, all pixels]."""
    shape, flags = IMAGES[request.param]
    random = np.random.default_rng(8)
    labels = random.integers(0, 3, 48)
    pixels = random.integers(0, 120, (48, *shape))
    for image, label in zip(pixels, labels):
        image[..., 2 * label, :] += 120
    (tmp_path / "x.idx").write_bytes(idx_bytes(pixels))
    (tmp_path / "y.idx").write_bytes(idx_bytes(labels))
    tulle("train", "--preset=smlp", "--train=x.idx", "--train-labels=y.idx", "--width=8", "--epochs=4", "--batch-size=8",
          "--learning-rate=0.02", "--compare-dense=none", "--name=run", "-q", *flags, check=True)  # fmt: skip
    return pixels.reshape(48, -1)


@pytest.mark.parametrize("form", FORMS)
def test_an_image_network_gives_what_predict_gives(tulle, run_onnx, image_model, form):
    model = "out/run/model.safetensors"
    expected = predicted(tulle, model, "x.idx")
    tulle("export", model, "--onnx=m.onnx", f"--onnx-form={form}", check=True)
    outputs = run_onnx("m.onnx", image_model)
    assert outputs.shape == (48, 3) and np.allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert np.allclose(run_onnx("m.onnx", image_model[5:6]), expected[5:6], rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.1  # the images do make a difference


def test_the_layers_of_a_sparse_image_network_stay_sparse(tmp_path, tulle, onnx, image_model):
    model = "out/run/model.safetensors"
    layers = json.loads(tulle("inspect", model, "--json", check=True).out)["layers"]
    sparse = [tuple(layer["shape"]) for layer in layers if layer["nnz"] < layer["shape"][0] * layer["shape"][1]]
    for form in FORMS:
        tulle("export", model, "--onnx=m.onnx", f"--onnx-form={form}", check=True)
        graph = onnx.load(tmp_path / "m.onnx").graph
        shapes = {tuple(tensor.dims) for tensor in graph.initializer}
        assert shapes.isdisjoint(sparse)
        assert len(graph.sparse_initializer) == (len(sparse) if form == "sparse-init" else 0)


def test_metadata_tell_where_the_model_came_from(tmp_path, tulle, onnx):
    make_model(tmp_path, tulle)
    tulle("export", "m.safetensors", "--onnx=m.onnx", "--onnx-form=coo", check=True)
    model = onnx.load(tmp_path / "m.onnx")
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found["tulle_version"] == model.producer_version == (REPOSITORY / "VERSION").read_text().strip()
    assert json.loads(found["classes"]) == ["0", "1", "2"]
    assert found["form"] == "coo"
    assert model.ir_version == 9 and model.opset_import[0].version == 18
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def probabilities(weights, biases, x):
    """Of a ReLU network of SciPy or NumPy matrices."""
    for layer, (weight, bias) in enumerate(zip(weights, biases)):
        x = (weight @ x.T).T + bias
        x = np.maximum(x, 0) if layer + 1 < len(weights) else x
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_scipy_rebuilds_the_matrices_of_an_archive(tmp_path, tulle):
    sparse = package("scipy.sparse")
    layers = make_model(tmp_path, tulle)
    x = inputs_of(tmp_path, 7, 6)
    tulle("export", "m.safetensors", "--npz=m.npz", check=True)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        weights = []
        for name in ("layers.0.weight", "layers.1.weight"):
            assert arrays[f"{name}.format"] == b"csr"
            parts = tuple(arrays[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
            weights.append(sparse.csr_matrix(parts, shape=arrays[f"{name}.shape"]))
        weights.append(arrays["layers.2.weight"])
        biases = [arrays[f"layers.{l}.bias"] for l in range(3)]
    for found, (weight, _) in zip(weights[:2], layers):
        assert found.nnz == np.count_nonzero(weight) and (found.toarray() == weight).all()
    assert np.abs(probabilities(weights, biases, x) - predicted(tulle)).max() < TOLERANCE


def test_scipy_loads_one_matrix_of_an_archive_by_itself(tmp_path, tulle):
    sparse = package("scipy.sparse")
    layers = make_model(tmp_path, tulle)
    tulle("export", "m.safetensors", "--npz=m.npz", check=True)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        prefix = "layers.0.weight."
        np.savez(tmp_path / "one.npz", **{k.removeprefix(prefix): arrays[k] for k in arrays.files if k.startswith(prefix)})
    assert (sparse.load_npz(tmp_path / "one.npz").toarray() == layers[0][0]).all()


def test_safetensors_opens_models_and_scipy_rebuilds_them(tmp_path, tulle):
    load_file, sparse = package("safetensors.numpy").load_file, package("scipy.sparse")
    layers = make_model(tmp_path, tulle)
    tensors = load_file(tmp_path / "m.safetensors")
    for name, (weight, bias) in zip(("layers.0", "layers.1"), layers):
        parts = tuple(tensors[f"{name}.weight.{part}"] for part in ("val", "col", "crow"))
        assert (sparse.csr_matrix(parts, shape=weight.shape).toarray() == weight).all()
        assert (tensors[f"{name}.bias"] == bias).all()
    assert (tensors["layers.2.weight"] == layers[2][0]).all()


def test_safetensors_opens_checkpoints_and_reads_their_metadata(trained):
    safe_open = package("safetensors").safe_open
    files = [trained / "out/run/model.safetensors", *checkpoints(trained / "out/run")]
    assert len(files) > 1
    for file in files:
        with safe_open(file, "np") as opened:
            metadata = opened.metadata()
            assert metadata["format"] == "tulle"
            for name, entry in json.loads(metadata["sparse"]).items():
                assert len(opened.get_tensor(f"{name}.crow")) == entry["shape"][0] + 1
            assert all(opened.get_tensor(name).nbytes >= 0 for name in opened.keys())


def test_torch_multiplies_by_the_matrices_of_a_model(tmp_path, tulle):
    torch = pytest.importorskip("torch")  # 2 GB: the one package that no test installs
    load_file = package("safetensors.torch").load_file
    layers = make_model(tmp_path, tulle)
    tensors = load_file(tmp_path / "m.safetensors")
    weight = torch.sparse_csr_tensor(*(tensors[f"layers.0.weight.{part}"] for part in ("crow", "col", "val")), (16, 6))
    x = torch.from_numpy(inputs_of(tmp_path, 7, 6))
    assert torch.allclose(weight @ x.T, torch.from_numpy(layers[0][0]) @ x.T, atol=1e-5)
