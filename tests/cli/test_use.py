"""`tulle eval`, `predict`, `inspect`, `bench` and `list`, and the help of every verb."""

import csv
import io
import json

import numpy as np
import pytest

from conftest import REPOSITORY, assert_refused, blobs, csv_text, masked_network, write_network, write_safetensors

MODEL = "out/run/model.safetensors"
CHECKPOINT = "out/run/ckpt-000040.safetensors"
TEST = ["--data=test.csv", "--label-column=last"]


def predicted(tulle, *arguments, **options):
    rows = list(csv.reader(io.StringIO(tulle("predict", *arguments, check=True, **options).out)))
    assert rows[0] == ["prediction", "p(0)", "p(1)", "p(2)"]
    return rows[1:]


def test_predictions_keep_the_order_of_the_rows(trained, tulle):
    rows = (trained / "test.csv").read_text().splitlines()
    (trained / "backwards.csv").write_text("\n".join(rows[::-1]) + "\n")
    forwards = predicted(tulle, MODEL, *TEST)
    assert len(forwards) == len(rows) and len({tuple(row) for row in forwards}) > 50
    assert predicted(tulle, MODEL, "--data=backwards.csv", "--label-column=last") == forwards[::-1]


def test_a_model_with_weights_in_bfloat16_is_used_like_any(trained, tulle):
    tulle("train", "config.toml", "--set=model.weights=bf16", "--name=bf16", check=True)
    model = "out/bf16/model.safetensors"
    about = json.loads(tulle("inspect", model, "--json", check=True).out)
    sparse = [layer for layer in about["layers"] if layer["stored"] == "sparse"]
    assert about["dtype"] == "bf16" and sparse
    assert all(layer["bytes"] == 6 * layer["nnz"] + 8 * (layer["shape"][0] + 1) for layer in sparse)
    accuracy = json.loads(tulle("eval", model, *TEST, "--json", check=True).out)["accuracy"]
    rows = predicted(tulle, model, *TEST)
    truth = [line.split(",")[-1] for line in (trained / "test.csv").read_text().splitlines()]
    assert accuracy == np.mean([row[0] == label for row, label in zip(rows, truth, strict=True)])
    tulle("export", model, "--npz=m.npz", check=True)
    with np.load(trained / "m.npz") as arrays:
        weights = next(arrays[name] for name in arrays.files if name.endswith("weight.data"))
    assert weights.dtype == np.float32 and np.all(weights.view(np.uint32) & 0xFFFF == 0)
    refused = tulle("train", "config.toml", "--set=model.weights=bf16", "--storage=fast")
    assert refused.code == 78 and refused.err.count("\n") == 1 and "model.weights" in refused.err


def test_predictions_read_standard_input(trained, tulle):
    content = (trained / "test.csv").read_bytes()
    arguments = [MODEL, "--data=-", "--label-column=last"]
    assert predicted(tulle, *arguments, stdin=content) == predicted(tulle, MODEL, *TEST)


def test_a_model_and_its_checkpoint_predict_alike(trained, tulle):
    assert predicted(tulle, CHECKPOINT, *TEST) == predicted(tulle, MODEL, *TEST)


def test_two_threads_predict_what_one_does(trained, tulle):
    one, two = (tulle("predict", MODEL, *TEST, f"--threads={n}", "--as=jsonl") for n in [1, 2])
    assert one.code == 0 and one.out == two.out


def test_lines_of_json_hold_what_the_table_holds(trained, tulle):
    lines = tulle("predict", MODEL, *TEST, "--as=jsonl", check=True).out.splitlines()
    records = [json.loads(line) for line in lines]
    table = predicted(tulle, MODEL, *TEST)
    assert [record["row"] for record in records] == list(range(60))
    assert [record["prediction"] for record in records] == [row[0] for row in table]
    outputs = np.array([record["outputs"] for record in records])
    np.testing.assert_allclose(outputs, np.array([row[1:] for row in table], float), rtol=1e-5)
    np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=1e-5)


def test_predictions_go_into_a_file(trained, tulle):
    result = tulle("predict", MODEL, *TEST, "-o", "x.csv", check=True)
    assert (result.out, result.err) == ("", "")
    assert (trained / "x.csv").read_text() == tulle("predict", MODEL, *TEST).out


def test_evaluation_counts_what_prediction_says(trained, tulle):
    result = json.loads(tulle("eval", MODEL, "--data=test.csv", "--json", check=True).out)
    truth = [line.split(",")[-1] for line in (trained / "test.csv").read_text().splitlines()]
    guesses = [row[0] for row in predicted(tulle, MODEL, *TEST)]
    right = [guess for guess, label in zip(guesses, truth) if guess == label]
    assert result["samples"] == 60 and result["accuracy"] == len(right) / 60
    for row in result["classes"]:
        name = row["class"]
        assert row["samples"] == truth.count(name)
        assert row["recall"] == pytest.approx(right.count(name) / truth.count(name))
        assert row["precision"] == pytest.approx(right.count(name) / guesses.count(name))
    table = tulle("eval", MODEL, "--data=test.csv", check=True).out
    assert f"accuracy  {100 * result['accuracy']:.2f} %" in table


def test_every_precision_predicts_nearly_the_same(trained, tulle):
    outputs = {}
    for dtype in ["f32", "bf16", "int8"]:
        rows = predicted(tulle, MODEL, *TEST, f"--dtype={dtype}")
        outputs[dtype] = np.array([row[1:] for row in rows], float)
    assert not np.array_equal(outputs["f32"], outputs["bf16"])
    np.testing.assert_allclose(outputs["bf16"], outputs["f32"], atol=0.02)
    np.testing.assert_allclose(outputs["int8"], outputs["f32"], atol=0.1)
    calibrated = predicted(tulle, MODEL, *TEST, "--dtype=int8", "--calibration=test.csv")
    assert calibrated == predicted(tulle, MODEL, *TEST, "--dtype=int8")


def test_evaluation_in_bytes_tells_what_they_cost(trained, tulle):
    arguments = ["eval", MODEL, "--data=test.csv"]
    floats = json.loads(tulle(*arguments, "--json", check=True).out)
    found = json.loads(tulle(*arguments, "--json", "--dtype=int8", check=True).out)
    assert found["f32"] == {"loss": floats["loss"], "accuracy": floats["accuracy"]}
    assert found["accuracy"] == pytest.approx(floats["accuracy"], abs=0.06)
    text = tulle(*arguments, "--dtype=int8", check=True).out
    assert f"f32       loss {floats['loss']:.6f}, accuracy {100 * floats['accuracy']:.2f} %" in text


@pytest.fixture
def numbers(tmp_path, tulle):
    """A model of three numbers."""
    write_network(tmp_path / "net.safetensors", masked_network([6, 8, 3], 0.5))
    tulle("import", "net.safetensors", "-o", "numbers.safetensors", "--loss=mse", check=True)
    (tmp_path / "x.csv").write_text(csv_text(blobs(20, seed=5)[0]))
    return "numbers.safetensors"


def test_every_number_of_a_prediction_has_a_name(tulle, numbers):
    rows = tulle("predict", numbers, "--data=x.csv", "--label-column=none", check=True).out.splitlines()
    assert rows[0] == "prediction.0,prediction.1,prediction.2" and {row.count(",") for row in rows} == {2}


def test_evaluation_needs_a_target_for_every_output(tmp_path, tulle, numbers):
    (tmp_path / "one.csv").write_text(csv_text(*blobs(20, seed=5)))
    assert_refused(tulle("eval", numbers, "--data=one.csv"), 65, "targets, found 1 for each sample, expected 3")


def test_evaluation_of_numbers_tells_no_accuracy(tmp_path, tulle):
    write_network(tmp_path / "net.safetensors", masked_network([6, 8, 1], 0.5))
    tulle("import", "net.safetensors", "-o", "one.safetensors", "--loss=mse", check=True)
    (tmp_path / "one.csv").write_text(csv_text(*blobs(20, seed=5)))
    text = tulle("eval", "one.safetensors", "--data=one.csv", "--dtype=int8", check=True).out
    assert "f32       loss" in text and "accuracy" not in text and "points" not in text
    found = json.loads(tulle("eval", "one.safetensors", "--data=one.csv", "--dtype=int8", "--json", check=True).out)
    assert set(found["f32"]) == {"loss"} and "accuracy" not in found


def test_a_neuron_that_is_dead_at_both_ends_counts_once(tmp_path, tulle):
    weights = [np.ones((8, 6), np.float32), np.ones((3, 8), np.float32)]
    weights[0][2] = weights[0][5] = 0  # nothing leads into 2 and 5,
    weights[1][:, 5] = weights[1][:, 6] = 0  # nothing out of 5 and 6
    write_network(tmp_path / "net.safetensors", [(W, np.zeros(len(W), np.float32)) for W in weights])
    tulle("import", "net.safetensors", "-o", "m.safetensors", "--sparsify=nonzero", check=True)
    assert json.loads(tulle("inspect", "m.safetensors", "--json", check=True).out)["dead_neurons"] == 3


def test_an_unknown_precision_is_a_mistake_of_the_call(trained, tulle):
    result = tulle("eval", MODEL, "--data=test.csv", "--dtype=fp8")
    assert result.code == 2 and "fp8" in result.err


def test_inspection_tells_layers_and_sizes(trained, tulle):
    model = json.loads(tulle("inspect", MODEL, "--json", check=True).out)
    assert (model["kind"], model["checksums"], model["file"]) == ("model", "good", MODEL)
    assert [layer["shape"] for layer in model["layers"]] == [[16, 6], [12, 16], [3, 12]]
    assert [layer["nnz"] for layer in model["layers"]] == [3 * 22, 3 * 28, 36]  # epsilon = 3, at most all
    assert [layer["stored"] for layer in model["layers"]] == ["sparse", "sparse", "dense"]
    assert model["nnz"] == 186 and model["classes"] == ["0", "1", "2"]
    checkpoint = json.loads(tulle("inspect", CHECKPOINT, "--json", check=True).out)
    assert (checkpoint["kind"], checkpoint["epoch"], checkpoint["step"]) == ("checkpoint", 4, 40)
    table = tulle("inspect", CHECKPOINT, check=True).out
    assert "stands after epoch 4, step 40" in table and "nnz 186" in table


def test_speed_is_told_beside_the_dense_network(trained, tulle):
    told = json.loads(tulle("bench", MODEL, "--batch=1,16", "--threads=1", "--json", check=True).out)
    assert [row["batch"] for row in told["forward"]] == [1, 16] and told["threads"] == 1
    for row in told["forward"]:
        assert row["ratio"] == pytest.approx(row["dense_seconds"] / row["seconds"])
        assert row["break_even_density"] == pytest.approx(told["density"] * row["ratio"])
        assert row["difference"] < 1e-5  # both networks compute the same
    table = tulle("bench", MODEL, "--batch=4", "--threads=1", check=True).out.splitlines()
    rows = [line for line in table if line.startswith("|")]
    assert len(rows) == 3 and len({row.count("|") for row in rows}) == 1 and rows[2].startswith("| 4 |")


def test_inspection_shows_the_tensors_of_any_safetensors_file(trained, tulle):
    tensors = {"fc\x1b[31m": np.ones((3, 6), np.float32), "ids": np.ones(4, np.int64)}
    write_safetensors(trained / "foreign.safetensors", {}, tensors)
    found = json.loads(tulle("inspect", "foreign.safetensors", "--json", check=True).out)
    assert (found["kind"], found["checksums"]) == ("safetensors", "unchecked")
    assert {row["name"]: (row["dtype"], row["shape"], row["bytes"]) for row in found["tensors"]} == {
        "fc\x1b[31m": ("F32", [3, 6], 72),
        "ids": ("I64", [4], 32),
    }
    table = tulle("inspect", "foreign.safetensors", check=True).out
    assert "\x1b" not in table and "ids" in table


def listed(tulle, *topic):
    return json.loads(tulle("list", *topic, "--json", check=True).out)


def test_the_list_of_keys_is_the_effective_config_and_every_key_is_a_flag(trained, tulle):
    keys = [row["name"] for row in listed(tulle, "config")]
    section, written = "", []
    for line in (trained / "out/run/config.toml").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in line:
            written.append(f"{section}.{line.split(' = ')[0]}")
    of_recovery = [key for key in keys if key.startswith("recover.")]
    assert [key for key in keys if key not in of_recovery] == written
    for verb, of_verb in (("train", written), ("recover", of_recovery)):
        leaves = [key.split(".")[1] for key in of_verb]
        assert len(set(leaves)) == len(leaves)
        words = tulle(verb, "--help", check=True).out.replace(",", " ").split()
        for leaf in leaves:
            assert "--" + leaf.replace("_", "-") in words


def test_every_choice_is_listed_under_its_own_topic(tulle):
    topics = listed(tulle)
    keys = {row["name"]: row for row in listed(tulle, "config")}
    for topic, key in {
        "presets": "run.preset",
        "recover-methods": "recover.method",
        "readers": "data.format",
        "distributions": "topology.distribution",
        "numberings": "topology.numbering",
        "weight-inits": "topology.weight_init",
        "activations": "model.activation",
        "losses": "model.loss",
        "optimizers": "train.optimizer",
        "schedules": "train.schedule",
        "rules": "evolve.rule",
    }.items():
        assert [row["name"] for row in topics[topic]] == keys[key]["choices"]
        assert all(row["help"] for row in topics[topic])
    assert [row["help"] for row in topics["instruction-sets"]].count("in use") == 1


@pytest.mark.parametrize("topic", ["rules", "drop-rules", "grow-rules", "losses", "layers", "optimizers", "readers"])
def test_every_entry_names_its_paper_or_the_specification_of_its_format(topic, tulle):
    without = {"none", "auto", "magnitude-soft", "momentum", "threshold"}  # nothing, a choice of others, rules of our own
    for row in listed(tulle, topic):
        assert row["source"] or row["name"] in without, row


def test_the_catalogue_in_the_docs_is_that_of_the_tables(tulle):
    # If this fails: tulle list --markdown >docs/catalogue.md
    assert (REPOSITORY / "docs/catalogue.md").read_text() == tulle("list", "--markdown", check=True).out


def test_one_topic_is_listed_alone(tulle):
    text = tulle("list", "rules", check=True).out
    assert text.startswith("rules\n") and "presets" not in text and "set" in text


@pytest.mark.parametrize("verb", ["train", "eval", "predict", "inspect", "prune", "import", "bench", "list"])
def test_every_verb_has_help(verb, tulle):
    assert verb in tulle("--help", check=True).out
    result = tulle(verb, "--help", check=True)
    assert "--help" in result.out and result.err == ""


def test_the_version_is_the_one_of_the_file(tulle):
    version = (REPOSITORY / "VERSION").read_text().strip()
    lines = tulle("--version", check=True).out.splitlines()
    assert lines[0] == f"tulle {version}"
    assert [line.split("  ")[0] for line in lines[1:]] == ["instruction sets", "dense products", "MPI"]
    assert "scalar" in lines[1] and "in use: " in lines[1]
