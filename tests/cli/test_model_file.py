"""The model file as others read it: NumPy alone rebuilds the network and its predictions."""

import json

import numpy as np
import pytest

from conftest import read_safetensors


def csr_to_dense(tensors, name, shape):
    crow, columns, values = (tensors[f"{name}.{part}"] for part in ["crow", "col", "val"])
    dense = np.zeros(shape)
    for row in range(shape[0]):
        entries = slice(crow[row], crow[row + 1])
        assert np.all(np.diff(columns[entries]) > 0)
        dense[row, columns[entries]] = values[entries]
    return dense


def forward(metadata, tensors, inputs):
    """Class probabilities, in double precision, from what the file says and nothing else."""
    a = inputs
    scale = json.loads(metadata["preprocess"])["scale"]
    if scale == "standard":
        deviation = tensors["data.std"].astype(float)
        a = (a - tensors["data.mean"]) * np.where(deviation == 0, 0, 1 / np.where(deviation == 0, 1, deviation))
    for index, layer in enumerate(json.loads(metadata["model"])["layers"]):
        name = f"layers.{index}.weight"
        shape = (layer["outputs"], layer["inputs"])
        weight = csr_to_dense(tensors, name, shape) if layer["sparse"] else tensors[name]
        z = a @ weight.T.astype(float) + tensors[f"layers.{index}.bias"]
        a = np.where(z > 0, z, layer["slope"] * z)
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def inputs_of(path):
    return np.loadtxt(path, delimiter=",", dtype=np.float32)[:, :-1].astype(float)


def outputs(tulle, *arguments):
    lines = tulle("predict", *arguments, "--as=jsonl", check=True).out.splitlines()
    return np.array([json.loads(line)["outputs"] for line in lines])


ACTIVATIONS = {
    "all-relu": [-0.6, 0.6, 1.0],  # alternating from the first hidden layer; the output is linear
    "relu": [0.0, 0.0, 1.0],
    "leaky-relu": [0.6, 0.6, 1.0],
}


@pytest.mark.parametrize("scale", ["standard", "none"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numpy_predicts_from_the_file_what_tulle_does(activation, scale, problem, tulle):
    tulle("train", "config.toml", f"--activation={activation}", f"--scale={scale}", check=True)
    metadata, tensors = read_safetensors(problem / "out/run/model.safetensors")
    slopes = [layer["slope"] for layer in json.loads(metadata["model"])["layers"]]
    np.testing.assert_allclose(slopes, ACTIVATIONS[activation], rtol=1e-6)
    expected = forward(metadata, tensors, inputs_of(problem / "test.csv"))
    found = outputs(tulle, "out/run/model.safetensors", "--data=test.csv", "--label-column=last")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_standardisation_is_that_of_the_training_data(trained):
    _, tensors = read_safetensors(trained / "out/run/model.safetensors")
    inputs = inputs_of(trained / "train.csv")
    np.testing.assert_allclose(tensors["data.mean"], inputs.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(tensors["data.std"], inputs.std(axis=0), rtol=1e-6)


def test_the_official_library_reads_the_same_tensors(trained):
    safetensors = pytest.importorskip("safetensors")
    numpy_form = pytest.importorskip("safetensors.numpy")
    path = trained / "out/run/model.safetensors"
    metadata, tensors = read_safetensors(path)
    official = numpy_form.load_file(path)
    assert official.keys() == tensors.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(official[name], values)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == metadata
