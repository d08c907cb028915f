"""`tulle export`: files for other programs, and what is said of them. What the files compute: tests/python."""

import json

import numpy as np
import pytest

from conftest import assert_refused, contents, masked_network, temporaries, write_network

MODEL = "out/run/model.safetensors"


@pytest.fixture
def model(tmp_path, tulle):
    """784 -> 256 -> 10; 5 % of the first layer."""
    write_network(tmp_path / "net.safetensors", masked_network([784, 256, 10], 0.05))
    tulle("import", "net.safetensors", "-o", "m.safetensors", check=True)
    return tmp_path / "m.safetensors"


def test_every_file_that_is_asked_for_is_written_and_named(tmp_path, tulle, model):
    done = tulle("export", model, "--onnx=m.onnx", "--npz=m.npz", check=True)
    heads = [line for line in done.out.splitlines() if not line.startswith(" ")]
    assert [line.split()[:2] for line in heads] == [["onnx", "m.onnx"], ["npz", "m.npz"]]
    assert done.err == ""
    assert {"m.onnx", "m.npz"} <= set(contents(tmp_path)) and temporaries(tmp_path) == []


def test_the_json_document_holds_bytes_and_facts(tmp_path, tulle, model):
    made = json.loads(tulle("export", model, "--onnx=m.onnx", "--onnx-form=ell", "--npz=m.npz", "--json", check=True).out)
    assert [entry["format"] for entry in made] == ["onnx", "npz"]
    assert all(entry["bytes"] == (tmp_path / entry["file"]).stat().st_size for entry in made)
    assert made[0]["form"] == "ell"
    with np.load(tmp_path / "m.npz") as arrays:
        rows = np.diff(arrays["layers.0.weight.indptr"])
    assert made[0]["pad_factor"] == pytest.approx(256 * rows.max() / rows.sum())
    assert made[0]["break_even_batch"] == 784 // rows.max()


def test_the_runtime_that_expands_sparse_initializers_is_named(tulle, model):
    assert "expands sparse initializers" in tulle("export", model, "--onnx=m.onnx", check=True).out
    assert "expands" not in tulle("export", model, "--onnx=m.onnx", "--onnx-form=coo", check=True).out


@pytest.mark.parametrize("form, bytes_each", [("sparse-init", 12), ("ell", 8), ("coo", 12)])
def test_files_are_as_small_as_their_connections(tmp_path, tulle, model, form, bytes_each):
    made = json.loads(tulle("export", model, "--onnx=m.onnx", f"--onnx-form={form}", "--json", check=True).out)[0]
    layers = json.loads(tulle("inspect", model, "--json", check=True).out)["layers"]
    others = 4 * (256 + 10 * 256 + 10) + 2500  # biases, the dense layer, the graph
    assert made["bytes"] < bytes_each * layers[0]["nnz"] * made.get("pad_factor", 1) + others
    assert made["bytes"] < 4 * 784 * 256 / 4


def test_quiet_says_nothing(tulle, model):
    done = tulle("export", model, "--npz=m.npz", "-q", check=True)
    assert done.out == done.err == ""


def test_checkpoints_are_exported_as_well_and_stay_as_they_are(trained, tulle):
    checkpoint = max((trained / "out/run").glob("ckpt-*.safetensors"))
    before = checkpoint.read_bytes()
    tulle("export", checkpoint, "--onnx=a.onnx", check=True)
    tulle("export", MODEL, "--onnx=b.onnx", check=True)
    assert checkpoint.read_bytes() == before
    assert (trained / "a.onnx").stat().st_size == (trained / "b.onnx").stat().st_size


def test_flags_that_cannot_be_are_refused(tulle, model):
    assert_refused(tulle("export", model), 78, "found no file to write", "--onnx", "--npz")
    assert_refused(tulle("export", model, "--onnx=m.onnx", "--onnx-form=eel"), 2, "eel", "sparse-init")
    assert_refused(tulle("export", model, "--onyx=m.onnx"), 2, "did you mean --onnx?")
    assert_refused(tulle("export"), 2, "model")


def test_flags_of_another_format_are_refused(tmp_path, tulle, model):
    for flags in (["--int8"], ["--int8-activations", "--data=x.csv"], ["--name=tiny"], ["--scale=layer"]):
        assert_refused(tulle("export", model, "--onnx=m.onnx", *flags), 2, flags[0].split("=")[0], "--c-header")
    assert_refused(tulle("export", model, "--npz=m.npz", "--onnx-form=ell"), 2, "--onnx-form", "--onnx")
    assert not (tmp_path / "m.onnx").exists() and not (tmp_path / "m.npz").exists()


def test_what_one_format_refuses_leaves_no_file_of_another(tmp_path, tulle, model):
    tulle("import", "net.safetensors", "-o", "gelu.safetensors", "--activation=gelu", check=True)
    assert_refused(tulle("export", "gelu.safetensors", "--onnx=m.onnx", "--c-header=m.h"), 65, "gelu")
    assert not (tmp_path / "m.onnx").exists()


def test_a_missing_or_damaged_model_is_refused_and_nothing_written(tmp_path, tulle, model):
    assert_refused(tulle("export", "none.safetensors", "--onnx=m.onnx"), 66, "none.safetensors")
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    model.write_bytes(content)
    assert_refused(tulle("export", model, "--onnx=m.onnx"), 65, "m.safetensors")
    assert not (tmp_path / "m.onnx").exists()


def test_a_file_that_cannot_be_written_is_refused(tmp_path, tulle, model):
    assert_refused(tulle("export", model, "--onnx=none/m.onnx"), 73, "none/m.onnx")
    assert_refused(tulle("export", model, f"--npz={tmp_path}"), 73)
    assert temporaries(tmp_path) == []


def test_image_models_are_written_as_arrays_and_as_a_graph_but_not_in_c(tmp_path, tulle):
    from test_images import picture, train
    from test_recover import png

    for name, rows in (("columns", False), ("rows", True)):
        (tmp_path / f"pictures/{name}").mkdir(parents=True)
        for i in range(4):
            (tmp_path / f"pictures/{name}/{i}.png").write_bytes(png(picture(rows, i)))
    assert train(tulle, tmp_path / "pictures", epochs="1").code == 0
    assert_refused(tulle("export", MODEL, "--c-header=m.h"), 65, "found an image model", "expected a perceptron")
    assert not (tmp_path / "m.h").exists()
    made = json.loads(tulle("export", MODEL, "--npz=m.npz", "--onnx=m.onnx", "--json", check=True).out)
    assert [entry["format"] for entry in made] == ["onnx", "npz"]
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        shapes = [name for name in arrays.files if name.startswith("channel_mix")]
        assert shapes and all(np.isfinite(arrays[name]).all() for name in shapes if arrays[name].dtype == np.float32)
