"""Signals: a good checkpoint, the documented code, and the same bits in the end."""

import os
import re
import signal
import time

import pytest

from conftest import blobs, checkpoints, csv_text, temporaries, write_problem

LONG = {"train__epochs": 400, "checkpoint__save_every": "never", "evolve__update_every": "7 step"}


@pytest.fixture
def problem(tmp_path):
    write_problem(tmp_path, **LONG)
    return tmp_path


def started(tulle, *arguments):
    """A training that has finished its first epochs."""
    training = tulle.start("train", "config.toml", "--progress=line", *arguments)
    for line in training.stderr:
        if re.match(r"epoch +\d", line):
            return training
    raise AssertionError("the training ended before its first epoch")


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_stopped_and_resumed_training_ends_with_the_same_model(name, code, problem, tulle):
    training = started(tulle)
    training.send_signal(getattr(signal, name))
    last_line = training.communicate(timeout=60)[1].splitlines()[-1]
    assert training.returncode == code
    step = int(re.search(r"step (\d+); go on with: tulle train --resume", last_line).group(1))
    run = problem / "out/run"
    assert checkpoints(run)[0].name == f"ckpt-{step:06d}.safetensors"
    assert 0 < step < 4000, "the signal came after the end: give the training more epochs"
    assert not (run / "model.safetensors").exists()
    assert temporaries(problem) == []
    assert '"exit":%d' % code in (run / "metrics.jsonl").read_text().splitlines()[-1]

    resumed = tulle("train", "--resume=out/run", check=True)
    assert f"step {step}\n" in resumed.err
    tulle("train", "config.toml", "--name=straight", check=True)
    straight = problem / "out/straight/model.safetensors"
    assert (run / "model.safetensors").read_bytes() == straight.read_bytes()


def test_a_training_stopped_between_two_batches_of_an_epoch_goes_on_there(problem, tulle):
    tulle("train", "config.toml", "--name=straight", check=True)
    for _ in range(20):
        training = started(tulle, "--resume=auto")
        training.terminate()
        training.communicate(timeout=60)
        if training.returncode == 0:
            break
        step = int(checkpoints(problem / "out/run")[0].stem.split("-")[1])
        if step % 10 != 0:
            break
    tulle("train", "config.toml", "--resume=auto", check=True)
    models = [problem / "out" / name / "model.safetensors" for name in ["run", "straight"]]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_sigusr1_saves_and_the_training_goes_on(problem, tulle):
    training = started(tulle, "-v")
    assert checkpoints(problem / "out/run") == []
    training.send_signal(signal.SIGUSR1)
    rest = training.communicate(timeout=60)[1]
    assert training.returncode == 0
    saved = [int(step) for step in re.findall(r"saved .*ckpt-(\d+)\.safetensors", rest)]
    assert len(saved) == 2 and saved[0] < saved[1] == 4000
    assert [int(path.stem.split("-")[1]) for path in checkpoints(problem / "out/run")] == saved[::-1]


def test_a_second_sigint_leaves_in_the_middle_of_a_batch(problem, tulle):
    (problem / "train.csv").write_text(csv_text(*blobs(4000, seed=1)))
    slow = ["--batch-size=4000", "--hidden=4000,4000", "--distribution=uniform", "--density=1"]
    training = tulle.start("train", "config.toml", *slow)
    for line in training.stderr:
        if line.startswith("total"):
            break
    time.sleep(0.3)
    training.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert training.poll() is None, training.stderr.read()
    training.send_signal(signal.SIGINT)
    training.communicate(timeout=60)
    assert training.returncode == 130
    assert checkpoints(problem / "out/run") == []  # the first signal would have ended in a checkpoint


def test_quiet_is_quiet_about_signals_too(problem, tulle):
    training = tulle.start("train", "config.toml", "-q", "--epochs=100000")
    deadline = time.monotonic() + 60
    while not (problem / "out/run/metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    training.terminate()
    assert training.communicate(timeout=60)[1] == ""
    assert training.returncode == 143


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def started_comparison(problem, tulle, *arguments):
    """A finished training whose dense comparison, which would take very long, has begun."""
    more = ["--epochs=8", "--learning-rate=0.0001", "--compare-dense=train", "--hidden=3000,3000"]
    (problem / "config.toml").write_text(
        (problem / "config.toml").read_text().replace("epsilon = 3", "epsilon = 1")
    )
    training = tulle.start("train", "config.toml", "--batch-size=1", *more, *arguments)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and training.poll() is None:
        for child in children(training.pid):
            if (problem / "out/run/dense/metrics.jsonl").exists():
                return training, child
        time.sleep(0.01)
    raise AssertionError(training.communicate()[1])


def test_a_signal_during_the_dense_comparison_keeps_the_result(problem, tulle):
    training, child = started_comparison(problem, tulle)
    training.terminate()
    error = training.communicate(timeout=60)[1]
    assert training.returncode == 0
    assert "tulle: warning: no dense comparison: found exit status 143" in error
    assert not os.path.exists(f"/proc/{child}")
    run = problem / "out/run"
    assert (run / "model.safetensors").exists()
    metrics = (run / "metrics.jsonl").read_text()
    assert '"event":"result"' in metrics and '"dense":' not in metrics.splitlines()[-2]


def test_the_dense_comparison_dies_with_the_training(problem, tulle):
    training, child = started_comparison(problem, tulle)
    training.kill()
    training.wait()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{child}/exe") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{child}/exe")
