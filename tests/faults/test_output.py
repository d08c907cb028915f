"""Outputs that cannot be written: the documented code, no partial file, earlier checkpoints untouched."""

import json
import os
import resource
import subprocess
import time

import pytest

from conftest import Tulle, assert_refused, checkpoints, contents, temporaries

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534


@pytest.fixture
def predict(trained, tulle):
    """Predicts with a trained model into a file; every refusal leaves everything as it was."""

    def refuse(output, **options):
        before = contents(trained)
        data = ["--data=test.csv", "--label-column=last"]
        result = tulle("predict", "out/run/model.safetensors", *data, "-o", output, **options)
        assert contents(trained) == before
        return result

    return refuse


def test_predictions_into_a_folder_that_is_not_there_are_refused(predict):
    assert_refused(predict("none/x.csv"), 73, "none/x.csv")


def test_a_folder_is_not_replaced_by_predictions(predict):
    assert_refused(predict("out"), 73, "out")
    assert_refused(predict("out/"), 73, "out")


def test_a_file_is_no_folder_for_predictions(predict):
    assert_refused(predict("test.csv/x.csv"), 73, "test.csv/x.csv")


def test_a_name_that_is_too_long_is_refused(predict):
    assert_refused(predict("x" * 300), 73, "xxx")


def no_large_files(limit):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_predictions_beyond_the_size_limit_are_refused(predict):
    assert_refused(predict("x.csv", preexec_fn=no_large_files(100)), 73, "x.csv")


def test_a_standard_output_without_space_is_an_error(trained, tulle):
    with open("/dev/full", "w") as full:
        command = tulle.command("list", "config")
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 73
    assert done.stderr.startswith("tulle: standard output") and done.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_an_error_and_not_a_death(trained, tulle):
    command = " ".join(tulle.command("list", "config"))
    script = f"({command}; echo $? >code) | true"
    done = subprocess.run(["bash", "-c", script], cwd=trained, capture_output=True, timeout=60)
    code = int((trained / "code").read_text())
    assert code in (0, 74)  # 0: everything was in the pipe before it closed
    assert done.stderr == b"" if code == 0 else done.stderr.startswith(b"tulle: standard output")


def test_a_training_does_not_need_its_standard_streams(problem, tulle):
    command = " ".join(tulle.command("train", "config.toml")) + " <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=problem, timeout=60).returncode == 0
    streams = Tulle(problem)("train", "config.toml", "--name=streams", check=True)
    assert "tulle" in streams.err
    models = [problem / "out" / name / "model.safetensors" for name in ["run", "streams"]]
    assert models[0].read_bytes() == models[1].read_bytes()
    metrics = [(problem / "out" / name / "metrics.jsonl").read_text() for name in ["run", "streams"]]
    events = [[json.loads(line)["event"] for line in text.splitlines()] for text in metrics]
    assert events[0] == events[1]  # no message went into a file with number 2


@pytest.mark.parametrize("out", ["train.csv", "/proc/none"], ids=["a_file", "no_place"])
def test_a_run_directory_that_cannot_be_made_is_refused(out, problem, tulle):
    before = contents(problem)
    assert_refused(tulle("train", "config.toml", f"--out={out}"), 73, out)
    assert contents(problem) == before


@as_root
def test_a_folder_of_somebody_else_is_refused_before_the_training(problem, tulle):
    problem.chmod(0o755)
    for parent in problem.parents[:3]:
        parent.chmod(0o755)
    before = contents(problem)
    result = tulle("train", "config.toml", preexec_fn=lambda: os.setuid(NOBODY))
    assert_refused(result, 77, "out", "ermission")
    assert contents(problem) == before


def continued(tulle, *arguments, **options):
    """Goes on with out/run for more epochs under a fault."""
    more = ["--resume=out/run", "--epochs=40", "--quiet"]
    return tulle("train", *more, *arguments, **options)


def test_checkpoints_beyond_the_size_limit_end_the_training_and_keep_the_old_ones(trained, tulle):
    run = trained / "out/run"
    before = {path: path.read_bytes() for path in checkpoints(run)}
    size = checkpoints(run)[0].stat().st_size
    (run / "metrics.jsonl").write_text("")  # else it might reach the limit first
    result = continued(tulle, preexec_fn=no_large_files(size - 100))
    assert_refused(result, 73, "ckpt-")
    assert {path: path.read_bytes() for path in checkpoints(run)} == before
    assert temporaries(trained) == []
    assert continued(tulle).code == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, leave):
    """Takes all space but `leave` bytes, also from a training that writes at the same time."""
    with open(folder / "filler", "wb", buffering=0) as filler:
        try:
            while os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize > leave:
                filler.write(b"x" * 4096)
        except OSError:  # no space left
            assert leave == 0


DEEP = ["--format=synthetic", "--set=data.features=2000", "--scale=none", "--samples=64", "--test-samples=16",
        "--hidden=" + ",".join(["30000"] * 8), "--epsilon=4", "--batch-size=16", "--compare-dense=none",
        "--storage=compact", "--save-every=1 epoch"]


def test_a_full_disk_under_the_spilled_connections_ends_the_training_and_keeps_the_checkpoints(small_disk, tulle):
    tulle("train", *DEEP, "--epochs=1", check=True)
    plan = json.loads(tulle("plan", *DEEP, "--json", check=True).out)
    before = {path: path.read_bytes() for path in checkpoints(tulle.folder / "out/run")}
    limit = [f"--memory-limit={plan['total'] - 1}", f"--spill={small_disk}"]
    assert_refused(tulle("train", *DEEP, "--epochs=2", "--resume=auto", *limit), 73, str(small_disk), "o space")
    assert {path: path.read_bytes() for path in checkpoints(tulle.folder / "out/run")} == before
    assert list(small_disk.iterdir()) == []
    tulle("train", *DEEP, "--epochs=2", "--resume=auto", check=True)


def test_too_little_space_for_two_checkpoints_is_refused_before_the_training(problem, small_disk, tulle):
    fill(small_disk, 20_000)
    result = tulle("train", "config.toml", f"--out={small_disk}")
    assert_refused(result, 73, "free space", "found", "expected twice")
    left = [path.name for path in (small_disk / "run").iterdir()]
    assert left == [".claim"]


def test_a_disk_that_fills_up_ends_the_training_and_keeps_the_old_checkpoints(problem, small_disk, tulle):
    more = ["--epochs=100000", "--save-every=1 step", f"--out={small_disk}"]
    training = tulle.start("train", "config.toml", "-q", *more)
    run = small_disk / "run"
    deadline = time.monotonic() + 60
    while len(checkpoints(run)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    fill(small_disk, 0)
    error = training.communicate(timeout=60)[1]
    assert training.returncode == 73, error
    assert error.startswith("tulle: ") and error.count("\n") == 1 and "No space left" in error
    assert temporaries(small_disk) == []
    left = checkpoints(run)
    assert left
    for checkpoint in left:
        assert tulle("inspect", checkpoint).code == 0
    (small_disk / "filler").unlink()
    steps = int(left[0].stem.split("-")[1])
    enough = [f"--epochs={steps // 10 + 2}", "--save-every=1 epoch"]
    assert tulle("train", f"--resume={run}", "-q", *enough).code == 0


def test_the_second_training_in_a_folder_is_refused_and_the_first_unharmed(problem, tulle):
    first = tulle.start("train", "config.toml", "--epochs=100000", "--save-every=1 epoch", "-q")
    run = problem / "out/run"
    deadline = time.monotonic() + 60
    while not checkpoints(run) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert_refused(tulle("train", "config.toml"), 75, "out/run", "in use", "expected free")
    assert_refused(
        tulle("train", "config.toml", "--resume=auto", "--epochs=100000"), 75, "out/run", "in use"
    )
    assert first.poll() is None
    first.terminate()
    assert first.communicate(timeout=60)[1] == ""
    assert first.returncode == 143
    assert tulle("inspect", checkpoints(run)[0]).code == 0


def test_divergence_ends_with_its_own_code_and_keeps_the_last_good_checkpoint(problem, tulle):
    result = tulle("train", "config.toml", "-q", "--learning-rate=1e30", "--save-every=1 step")
    assert_refused(result, 70, "epoch", "batch", "found", "expected a finite number", "learning_rate")
    assert not (problem / "out/run/model.safetensors").exists()
    for checkpoint in checkpoints(problem / "out/run"):
        assert tulle("eval", checkpoint, "--data=test.csv").code == 0
