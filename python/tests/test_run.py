"""Python and the command line are one engine: same keys, same files, same bits."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import write_config

import tulle
from tulle.callbacks import Callback


def test_the_same_config_gives_the_same_model_file(problem, command_line, tmp_path):
    config = write_config(tmp_path, *problem)
    command_line("train", config)
    run = tulle.train(config, {"run.name": "python"})
    assert (tmp_path / "out/python/model.safetensors").read_bytes() == (tmp_path / "out/run/model.safetensors").read_bytes()
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / "out" / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("python", "run")
    )
    assert [line["event"] for line in ours] == [line["event"] for line in theirs]
    assert (tmp_path / "out/python/report.html").is_file()
    assert run["test accuracy"] > 0.5 and run.model.n_features == 20 and len(run.history) == 4


def test_an_estimator_is_a_run_with_its_config(problem, command_line, tmp_path):
    pytest.importorskip("sklearn")
    X, y, Xt, yt = problem
    clf = tulle.SparseMLPClassifier(
        hidden=(20, 10), max_iter=3, random_state=4, scale="standard", dropout=0.2, rule="rigl", update_every="5 step"
    ).fit(X, y)
    config = write_config(tmp_path, X, y, Xt, yt)
    config.write_text(clf.config_)
    command_line(
        "train", config, "--train", tmp_path / "train.npz", "--arrays", "X,y", "--out", tmp_path / "out", "--name", "cli",
        "--compare-dense", "none", "--valid-fraction", "0",
    )  # fmt: skip
    theirs = tulle.load(tmp_path / "out/cli/model.safetensors")
    for ours, other in zip(clf.weights_, theirs.weights):
        assert np.array_equal(getattr(ours, "data", ours), getattr(other, "data", other))
    assert np.array_equal(clf.predict_proba(Xt), theirs.forward(Xt))


def test_a_model_file_goes_both_ways(problem, command_line, tmp_path):
    X, y, Xt, yt = problem
    write_config(tmp_path, X, y, Xt, yt)
    random = np.random.default_rng(0)
    import scipy.sparse

    weights = [
        scipy.sparse.random_array((8, 20), density=0.5, format="csr", dtype=np.float32, rng=random),
        random.normal(size=(3, 8)).astype(np.float32),
    ]
    model = tulle.Model.from_csr(weights, [random.normal(size=8), random.normal(size=3)], activation="relu", classes=[0, 1, 2])
    hidden = np.maximum(Xt @ weights[0].T.toarray() + model.biases[0], 0)
    logits = hidden @ weights[1].T + model.biases[1]
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(model.forward(Xt) - wanted).max() < 1e-5
    model.save(tmp_path / "m.safetensors")
    assert "checksums good" in command_line("inspect", tmp_path / "m.safetensors")
    printed = json.loads(command_line("eval", tmp_path / "m.safetensors", "--data", tmp_path / "test.npz", "--arrays", "X,y", "--json"))
    ours = tulle.evaluate(model, tmp_path / "test.npz", arrays="X,y")
    assert ours["accuracy"] == printed["accuracy"] and ours["samples"] == 100


def test_resuming_gives_the_bits_of_a_run_that_never_stopped(problem, tmp_path):
    config = write_config(tmp_path, *problem)
    whole = tulle.train(config, {"run.name": "whole"})

    class Break(Callback):
        def on_batch_end(self, ctx):
            if ctx.step == 25:
                raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        tulle.train(config, callbacks=[Break()])
    run = tmp_path / "out/run"
    assert list(run.glob("ckpt-*.safetensors")) and not (run / "model.safetensors").exists()
    tulle.train(resume=run)
    assert (run / "model.safetensors").read_bytes() == (tmp_path / "out/whole/model.safetensors").read_bytes()
    assert whole.path.endswith("whole")


def test_control_c_saves_a_checkpoint_and_raises(problem, tmp_path):
    config = write_config(tmp_path, *problem, **{"train.epochs": 100000})
    program = f"""
import tulle
from tulle.callbacks import Callback
class Tell(Callback):
    def on_epoch_end(self, ctx):
        print(ctx.epoch, flush=True)
try:
    tulle.train({str(config)!r}, callbacks=[Tell()])
except KeyboardInterrupt:
    print("stopped cleanly", flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert child.stdout.readline().strip() == "1"
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=60)
    assert rest.splitlines()[-1] == "stopped cleanly" and child.returncode == 0
    assert list((tmp_path / "out/run").glob("ckpt-*.safetensors"))
    assert json.loads((tmp_path / "out/run/metrics.jsonl").read_text().splitlines()[-1])["exit"] == 130


@pytest.mark.parametrize(
    "arguments, exception, words",
    [
        ({"settings": {"train.momentun": 1}}, tulle.errors.ConfigError, ["train.momentun", "train.momentum"]),
        ({"settings": {"train.epochs": -1}}, tulle.errors.ConfigError, ["train.epochs", "-1"]),
        ({"settings": {"data.train": "nowhere.npz"}}, FileNotFoundError, ["nowhere.npz"]),
        ({"resume": "nowhere"}, FileNotFoundError, ["nowhere"]),
    ],
)
def test_mistakes_are_named_in_one_line(problem, tmp_path, arguments, exception, words):
    config = write_config(tmp_path, *problem)
    with pytest.raises(exception) as caught:
        tulle.train(None if "resume" in arguments else config, **arguments)
    assert isinstance(caught.value, tulle.Error) and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_run_directory_with_checkpoints_is_not_written_over(problem, tmp_path):
    config = write_config(tmp_path, *problem)
    tulle.train(config)
    with pytest.raises(tulle.errors.ConfigError, match="checkpoints of an earlier training"):
        tulle.train(config)


def test_recover_and_plan_are_the_command_lines(command_line, tmp_path):
    model, record = tulle.recover(task="planted", method="aiht", n=1000, d=20, hidden_width=4, nnz=10, folder=tmp_path / "found")
    printed = json.loads(
        command_line("recover", "--method", "aiht", "--n", 1000, "--d", 20, "--hidden-width", 4, "--nnz", 10, "--out", tmp_path, "--name", "cli", "--json")
    )
    assert record["psnr"] == printed["psnr"] and model.n_outputs == 1
    assert (tmp_path / "found/model.safetensors").read_bytes() == (tmp_path / "cli/model.safetensors").read_bytes()
    forecast = tulle.plan(format="synthetic", hidden=[1000], epsilon=2)
    assert forecast["total"] == sum(forecast["items"].values()) and forecast["connections"] > 0
