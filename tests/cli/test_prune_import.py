"""`tulle prune` and `tulle import`: from finished networks to smaller ones."""

import csv
import io
import json

import numpy as np
import pytest

from conftest import assert_refused, contents, read_safetensors, write_safetensors

MODEL = "out/run/model.safetensors"


def outputs(tulle, model, data):
    rows = list(csv.reader(io.StringIO(tulle("predict", model, f"--data={data}", "--label-column=none", check=True).out)))
    return np.array([[float(value) for value in row[1:]] for row in rows[1:]])


def forward(layers, x):
    """Probabilities of a ReLU network of [(weight, bias)]."""
    for i, (weight, bias) in enumerate(layers):
        x = x @ weight.T.astype(np.float64) + bias
        if i + 1 < len(layers):
            x = np.maximum(x, 0)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


SIZES = [6, 12, 8, 3]


@pytest.fixture
def network():
    random = np.random.default_rng(3)
    return [
        (random.normal(0, 0.6, (o, i)).astype(np.float32), random.normal(0, 0.3, o).astype(np.float32))
        for i, o in zip(SIZES, SIZES[1:])
    ]


@pytest.fixture
def folder(tmp_path, network):
    x = np.random.default_rng(4).normal(size=(20, 6)).astype(np.float32)
    (tmp_path / "x.csv").write_text("\n".join(",".join(f"{v:.9g}" for v in row) for row in x) + "\n")
    names = ["fc2", "fc9", "fc10"]  # natural order, not that of the alphabet
    tensors = {f"{name}.{kind}": array for name, pair in zip(names, network) for kind, array in zip(("weight", "bias"), pair)}
    write_safetensors(tmp_path / "net.safetensors", {}, tensors)
    return tmp_path, x


def test_an_imported_network_computes_what_it_computed(folder, network, tulle):
    _, x = folder
    tulle("import", "net.safetensors", "-o", "m.safetensors", "--arch=mlp:6-12-8-3:relu", check=True)
    assert np.allclose(outputs(tulle, "m.safetensors", "x.csv"), forward(network, x), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_of_other_types_are_converted(folder, network, tulle, dtype, tmp_path):
    _, x = folder
    names = {"float16": "F16", "float64": "F64"}
    import struct

    header, body = {}, b""
    for i, (weight, bias) in enumerate(network):
        for kind, array in (("weight", weight), ("bias", bias)):
            data = array.astype(dtype).tobytes()
            header[f"{i}.{kind}"] = {
                "dtype": names[np.dtype(dtype).name],
                "shape": list(array.shape),
                "data_offsets": [len(body), len(body) + len(data)],
            }
            body += data
    text = json.dumps(header).encode()
    (tmp_path / "t.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    tulle("import", "t.safetensors", "-o", "m.safetensors", check=True)
    rounded = [(w.astype(dtype).astype(np.float32), b.astype(dtype).astype(np.float32)) for w, b in network]
    assert np.allclose(outputs(tulle, "m.safetensors", "x.csv"), forward(rounded, x), atol=1e-5)


def test_a_masked_network_keeps_only_what_its_mask_keeps(folder, network, tulle, tmp_path):
    _, x = folder
    random = np.random.default_rng(5)
    masks = [(random.random(w.shape) < 0.3).astype(np.float32) for w, _ in network]
    tensors = {}
    for i, ((weight, bias), mask) in enumerate(zip(network, masks)):
        tensors |= {f"{i}.weight_orig": weight, f"{i}.weight_mask": mask, f"{i}.bias": bias}
    write_safetensors(tmp_path / "masked.safetensors", {}, tensors)
    out = json.loads(tulle("import", "masked.safetensors", "-o", "m.safetensors", "--json", check=True).out)
    assert [row["nnz"] for row in out["layers"]] == [int(mask.sum()) for mask in masks]
    assert all(row["masked"] and row["stored"] == "sparse" for row in out["layers"])
    masked = [(w * m, b) for (w, b), m in zip(network, masks)]
    assert np.allclose(outputs(tulle, "m.safetensors", "x.csv"), forward(masked, x), atol=1e-5)


def kept_by(form, weights):
    """Which weights stay: an independent implementation."""
    kind, *numbers = form.split(":")
    sizes = [np.abs(w) for w in weights]
    if kind == "magnitude":
        every = np.sort(np.concatenate([s.ravel() for s in sizes]))
        limit = every[int(float(numbers[0]) * len(every))]
        return [s >= limit for s in sizes]
    if kind == "magnitude-layer":
        limits = [np.sort(s.ravel())[int(float(numbers[0]) * s.size)] for s in sizes]
        limits[-1] = 0
        return [s >= limit for s, limit in zip(sizes, limits)]
    n, m = map(int, numbers)
    kept = []
    for s in sizes:
        keep = np.zeros(s.shape, dtype=bool)
        for row in range(s.shape[0]):
            for first in range(0, s.shape[1], m):
                group = s[row, first : first + m]
                keep[row, first + np.argsort(-group)[:n]] = True
        kept.append(keep)
    return kept


@pytest.mark.parametrize("form", ["magnitude:0.8", "magnitude-layer:0.5", "nm:2:4"])
def test_sparsifying_keeps_the_strongest(folder, network, tulle, form):
    _, x = folder
    tulle("import", "net.safetensors", "-o", "m.safetensors", f"--sparsify={form}", check=True)
    kept = kept_by(form, [w for w, _ in network])
    _, tensors = read_safetensors(folder[0] / "m.safetensors")
    for l, keep in enumerate(kept):
        if not keep.all():
            assert np.array_equal(np.diff(tensors[f"layers.{l}.weight.crow"]), keep.sum(axis=1))
    pruned = [(w * k, b) for (w, b), k in zip(network, kept)]
    assert np.allclose(outputs(tulle, "m.safetensors", "x.csv"), forward(pruned, x), atol=1e-5)


BAD_IMPORTS = {
    "sizes": (["--arch=mlp:6-12-9-3"], 65, ["layer sizes", "found 6-12-8-3", "expected 6-12-9-3"]),
    "arch": (["--arch=6-12"], 78, ["--arch", "found '6-12'"]),
    "form": (["--sparsify=magnitude:1.5"], 78, ["--sparsify", "found 'magnitude:1.5'"]),
    "activation": (["--activation=rulu"], 78, ["--activation", "'relu'"]),
    "scale": (["--scale=standard"], 78, ["scale", "none or unit"]),
}


@pytest.mark.parametrize("flags, code, words", BAD_IMPORTS.values(), ids=BAD_IMPORTS)
def test_import_refuses(folder, tulle, flags, code, words):
    before = contents(folder[0])
    assert_refused(tulle("import", "net.safetensors", "-o", "m.safetensors", *flags), code, *words)
    assert contents(folder[0]) == before


def test_import_refuses_what_does_not_chain(folder, network, tulle, tmp_path):
    write_safetensors(tmp_path / "n.safetensors", {}, {"a.weight": network[1][0], "b.weight": network[0][0]})
    assert_refused(tulle("import", "n.safetensors", "-o", "m.safetensors"), 65, "inputs of 'b'", "found 6, expected 8")
    write_safetensors(tmp_path / "n.safetensors", {}, {"a.weight_orig": network[0][0]})
    assert_refused(tulle("import", "n.safetensors", "-o", "m.safetensors"), 65, "a.weight_mask", "found none")
    write_safetensors(tmp_path / "n.safetensors", {}, {"a": network[0][0]})
    assert_refused(tulle("import", "n.safetensors", "-o", "m.safetensors"), 65, "NAME.weight")


def test_pruned_neurons_make_smaller_layers(trained, tulle):
    flags = ["--neurons=importance:0.25", "--data=test.csv", "--label-column=last", "--cascade=false", "--json"]
    out = json.loads(tulle("prune", MODEL, "-o", "small.safetensors", *flags, check=True).out)
    assert out["before"]["sizes"] == [6, 16, 12, 3]
    assert out["after"]["sizes"] == [6, 12, 9, 3]
    assert out["after"]["connections"] < out["before"]["connections"]
    inspected = json.loads(tulle("inspect", "small.safetensors", "--json", check=True).out)
    assert [row["shape"] for row in inspected["layers"]] == [[12, 6], [9, 12], [3, 9]]
    evaluated = json.loads(tulle("eval", "small.safetensors", "--data=test.csv", "--label-column=last", "--json", check=True).out)
    assert evaluated["accuracy"] == out["after"]["accuracy"]


def test_pruned_connections_are_gone(trained, tulle):
    out = json.loads(tulle("prune", MODEL, "-o", "thin.safetensors", "--connections=magnitude:0.5", "--json", check=True).out)
    assert out["after"]["connections"] == out["before"]["connections"] - out["before"]["connections"] // 2
    assert out["after"]["sizes"] == out["before"]["sizes"]


def test_of_sparse_layers_too_the_strongest_n_of_m_stay(folder, tulle, network):
    random = np.random.default_rng(5)
    weights = [weight * (random.random(weight.shape) < 0.7) for weight, _ in network]
    tensors = {}
    for i, (weight, (_, bias)) in enumerate(zip(weights, network)):
        tensors |= {f"{i}.weight": weight, f"{i}.bias": bias}
    write_safetensors(folder[0] / "sparse.safetensors", {}, tensors)
    tulle("import", "sparse.safetensors", "-o", "m.safetensors", "--sparsify=nonzero", check=True)
    out = json.loads(tulle("prune", "m.safetensors", "-o", "n.safetensors", "--connections=nm:1:4", "--json", check=True).out)
    kept = [keep & (weight != 0) for keep, weight in zip(kept_by("nm:1:4", weights), weights)]
    assert out["after"]["connections"] == sum(int(keep.sum()) for keep in kept) < out["before"]["connections"]
    left = [(weight * keep, bias) for weight, keep, (_, bias) in zip(weights, kept, network)]
    assert np.allclose(outputs(tulle, "n.safetensors", "x.csv"), forward(left, folder[1]), atol=1e-5)


BAD_PRUNINGS = {
    "nothing": ([], ["neither --neurons nor --connections"]),
    "all_neurons": (["--neurons=importance:1"], ["--neurons", "found 'importance:1'"]),
    "neurons": (["--neurons=0.2"], ["--neurons", "found '0.2'"]),
    "connections": (["--connections=nm:4:2"], ["--connections", "found 'nm:4:2'"]),
}


@pytest.mark.parametrize("flags, words", BAD_PRUNINGS.values(), ids=BAD_PRUNINGS)
def test_prune_refuses(trained, tulle, flags, words):
    assert_refused(tulle("prune", MODEL, "-o", "x.safetensors", *flags), 78, *words)
    assert not (trained / "x.safetensors").exists()
