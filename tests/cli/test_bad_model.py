"""Model files and checkpoints that cannot be used."""

import random
import struct

import numpy as np
import pytest

from conftest import (
    assert_refused,
    checkpoints,
    config_text,
    contents,
    csv_text,
    blobs,
    read_safetensors,
    write_safetensors,
)

USES = {
    "inspect": ["inspect", "bad.safetensors"],
    "eval": ["eval", "bad.safetensors", "--data=test.csv"],
    "predict": ["predict", "bad.safetensors", "--data=test.csv", "--label-column=last"],
}


@pytest.fixture(params=USES.values(), ids=USES.keys())
def use(request):
    return request.param


def test_a_model_that_is_not_there_is_a_missing_input(use, trained, tulle):
    assert_refused(tulle(*use), 66, "bad.safetensors")


def test_an_empty_file_is_no_model(use, trained, tulle):
    (trained / "bad.safetensors").write_bytes(b"")
    assert_refused(tulle(*use), 65, "bad.safetensors", "found", "expected")


def test_a_folder_is_no_model(use, trained, tulle):
    (trained / "bad.safetensors").mkdir()
    assert_refused(tulle(*use), 65, "bad.safetensors", "found a directory", "expected a file")


def test_data_are_no_model(use, trained, tulle):
    (trained / "bad.safetensors").write_bytes((trained / "train.csv").read_bytes())
    assert_refused(tulle(*use), 65, "bad.safetensors@0", "found", "expected")


def test_a_model_cut_anywhere_is_found(trained, tulle):
    good = (trained / "out/run/model.safetensors").read_bytes()
    bad = trained / "bad.safetensors"
    for length in [1, 7, 8, 9, 100, len(good) // 2, len(good) - 1]:
        bad.write_bytes(good[:length])
        result = tulle("eval", bad.name, "--data=test.csv")
        assert_refused(result, 65, "bad.safetensors", "found", "expected")


def test_a_flipped_bit_is_found(trained, tulle):
    good = (trained / "out/run/model.safetensors").read_bytes()
    bad = trained / "bad.safetensors"
    positions = random.Random(5)
    for _ in range(50):
        flipped = bytearray(good)
        place = positions.randrange(len(good))
        flipped[place] ^= 1 << positions.randrange(8)
        bad.write_bytes(flipped)
        result = tulle("eval", bad.name, "--data=test.csv")
        assert result.code == 65, f"byte {place}: {result}"
        assert_refused(result, 65, "bad.safetensors")


def test_a_header_longer_than_the_file_is_refused_before_memory_is_taken(use, trained, tulle):
    (trained / "bad.safetensors").write_bytes(struct.pack("<Q", 2**64 - 1) + b"{}")
    assert_refused(tulle(*use), 65, "bad.safetensors@0: header length", "found", "expected at most 2")


def foreign(folder):
    tensors = {"fc.weight": np.ones((3, 6), np.float32), "fc.bias": np.ones(3, np.float32)}
    write_safetensors(folder / "bad.safetensors", {"format": "pt"}, tensors)


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_model_of_another_program_is_refused(verb, trained, tulle):
    foreign(trained)
    assert_refused(tulle(*USES[verb]), 65, "bad.safetensors", "found pt", "expected 'tulle'")


def test_a_newer_format_is_refused_with_the_version_that_wrote_it(use, trained, tulle):
    metadata, tensors = read_safetensors(trained / "out/run/model.safetensors")
    tensors = {name: values for name, values in tensors.items() if not name.startswith("tulle.")}
    metadata |= {"format_version": "2", "tulle_version": "9.8.7"}
    write_safetensors(trained / "bad.safetensors", metadata, tensors)
    words = ["format_version", "found 2 (written by tulle 9.8.7)", "expected at most 1"]
    assert_refused(tulle(*use), 65, "bad.safetensors", *words)


def refused_resume(tulle, *arguments):
    """A resumed training that must not change a byte."""
    before = contents(tulle.folder)
    result = tulle("train", *arguments)
    assert contents(tulle.folder) == before
    return result


# name: (changes to the config of the finished training, what the line must say)
CHANGED = {
    "another_net": ({"model__hidden": [16, 13]}, ["layer sizes", "found 6-16-12-3", "6-16-13-3"]),
    "another_rate": ({"train__learning_rate": 0.3}, ["train.learning_rate", "found 0.02", "0.3"]),
    "another_seed": ({"run__seed": 2}, ["run.seed", "found 1", "expected 2"]),
    "another_rule": ({"evolve__rule": "none"}, ["evolve.rule", 'found "set"', 'expected "none"']),
}


@pytest.mark.parametrize("row", CHANGED.values(), ids=CHANGED.keys())
def test_a_training_does_not_resume_with_a_changed_config(row, trained, tulle):
    changes, words = row
    (trained / "config.toml").write_text(config_text(**changes))
    assert_refused(refused_resume(tulle, "config.toml", "--resume=auto"), 78, "ckpt-", *words)


def test_a_training_does_not_resume_with_changed_data(trained, tulle):
    inputs, labels = blobs(200, seed=1)
    inputs[17, 2] += 0.5
    (trained / "train.csv").write_text(csv_text(inputs, labels))
    result = refused_resume(tulle, "--resume=out/run")
    assert_refused(result, 78, "ckpt-", "training data", "found", "expected")


def test_a_training_does_not_resume_from_a_model(trained, tulle):
    result = refused_resume(tulle, "--resume=out/run/model.safetensors")
    assert_refused(result, 65, "model.safetensors", "found a model", "expected a checkpoint")


def test_a_training_does_not_resume_from_nothing(trained, tulle):
    assert_refused(refused_resume(tulle, "--resume=out/none"), 66, "out/none")
    assert_refused(refused_resume(tulle, "--resume=out/run/ckpt-000999.safetensors"), 66, "ckpt-000999")


def test_a_training_does_not_resume_from_a_folder_without_checkpoints(trained, tulle):
    for checkpoint in checkpoints(trained / "out/run"):
        checkpoint.unlink()
    result = refused_resume(tulle, "--resume=out/run")
    assert_refused(result, 66, "out/run", "found none", "expected at least one")


def test_only_damaged_checkpoints_are_bad_data_and_not_a_new_start(trained, tulle):
    for checkpoint in checkpoints(trained / "out/run"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    for resume in ["--resume=auto", "--resume=out/run"]:
        result = refused_resume(tulle, "config.toml", resume)
        assert_refused(result, 65, "run: checkpoints", "found 2", "expected")


def test_a_damaged_checkpoint_that_was_asked_for_by_name_is_refused(trained, tulle):
    newest = checkpoints(trained / "out/run")[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    assert_refused(refused_resume(tulle, f"--resume={newest}"), 65, newest.name, "found", "expected")


def test_several_seeds_do_not_resume(trained, tulle):
    result = refused_resume(tulle, "--resume=out/run", "--seed=1..3")
    assert_refused(result, 78, "--resume", "found several seeds", "expected one")


def test_a_folder_with_checkpoints_is_not_trained_into_again(trained, tulle):
    result = refused_resume(tulle, "config.toml")
    assert_refused(result, 78, "out/run", "found checkpoints", "expected none", "--resume")
