"""The event files of a training, read by TensorBoard's own reader (package tensorboard)."""

import json
from pathlib import Path

import pytest

from conftest import package, read_safetensors


def accumulator(folder):
    """TensorBoard's view of a folder of event files."""
    module = package("tensorboard.backend.event_processing.event_accumulator")
    reader = module.EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    reader.Reload()
    return reader


def scalars(reader, tag):
    return [(event.step, pytest.approx(event.value)) for event in reader.Scalars(tag)]


def event_files(run):
    return sorted(Path(run, "tb").glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture
def run(problem, tulle):
    tulle("train", "config.toml", "--tensorboard=true", "--histograms-every=2 epoch", check=True)
    return problem / "out" / "run"


def test_the_scalars_are_those_of_the_metrics(run):
    reader = accumulator(run / "tb")
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in epochs if line["event"] == "epoch"]
    assert len(epochs) == 4
    names = {
        "train/loss": "train_loss",
        "test/loss": "test_loss",
        "test/accuracy": "test_acc",
        "sparsity/nnz": "nnz",
        "sparsity/density": "density",
        "speed/conn_per_s": "conn_per_s",
        "memory/peak_rss": "peak_rss",
        "lr": "lr",
    }
    for tag, key in names.items():
        assert scalars(reader, tag) == [(line["step"], line[key]) for line in epochs], tag
    assert 0 < reader.Scalars("layer0/explored")[-1].value <= 1
    assert "layer9/explored" not in reader.Tags()["scalars"]


def test_the_histograms_are_those_of_the_network(run):
    reader = accumulator(run / "tb")
    assert [event.step for event in reader.Histograms("layer0/weights")] == [20, 40]
    _, tensors = read_safetensors(run / "model.safetensors")
    weights = tensors["layers.0.weight.val"]
    last = reader.Histograms("layer0/weights")[-1].histogram_value
    assert (last.num, last.min, last.max) == (weights.size, weights.min(), weights.max())
    assert sum(last.bucket) == weights.size
    degrees = reader.Histograms("layer0/in_degree")[-1].histogram_value
    assert (degrees.num, degrees.sum) == (16, weights.size)
    assert degrees.max == max(tensors["layers.0.weight.crow"][1:] - tensors["layers.0.weight.crow"][:-1])
    assert reader.Histograms("layer0/out_degree")[-1].histogram_value.num == 6


def test_a_torn_record_costs_no_other(run):
    (file,) = event_files(run)
    file.write_bytes(file.read_bytes()[:-3])
    assert [event.step for event in accumulator(run / "tb").Scalars("train/loss")] == [10, 20, 30]


def test_a_resumed_training_goes_on_in_a_file_of_its_own(problem, tulle):
    arguments = ["train", "config.toml", "--tensorboard=true", "--keep=4"]
    tulle(*arguments, check=True)
    run = problem / "out" / "run"
    whole = scalars(accumulator(run / "tb"), "train/loss")
    # As after a crash behind the checkpoint of step 20: what was written beyond is written again.
    (run / "ckpt-000040.safetensors").unlink()
    (run / "ckpt-000030.safetensors").unlink()
    tulle("train", "--resume", run, check=True)
    assert len(event_files(run)) == 2
    assert scalars(accumulator(run / "tb"), "train/loss") == whole


def test_there_are_no_event_files_unless_asked_for(trained):
    assert not (trained / "out" / "run" / "tb").exists()


def test_a_hundred_thousand_events_are_read(problem, tulle):
    tulle("train", "config.toml", "--tensorboard=true", "--histograms-every=never", "--epochs=1", check=True)
    run = problem / "out" / "run"
    (file,) = event_files(run)
    content = file.read_bytes()
    start = 0
    for _ in range(2):  # version and start
        start += 8 + 4 + int.from_bytes(content[start : start + 8], "little") + 4
    file.write_bytes(content + content[start:] * 99_999)
    assert len(accumulator(run / "tb").Scalars("train/loss")) == 100_000
