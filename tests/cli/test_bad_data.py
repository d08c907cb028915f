"""Data that cannot be used: one line that names the file, the documented code, nothing left behind."""

import os
import struct

import numpy as np
import pytest

from conftest import assert_refused, blobs, contents, csv_text, gzip_bytes, idx_bytes

INPUTS, LABELS = blobs(40, seed=3)
IMAGES, CLASSES = np.arange(40 * 9).reshape(40, 3, 3) % 251, np.arange(40) % 4
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x02\0\x08\0\0\0\0\xd1\x13\x8b\x26"
GOOD = csv_text(INPUTS, LABELS)


def changed(row, column, text):
    rows = [line.split(",") for line in GOOD.splitlines()]
    rows[row][column] = text
    return "\n".join(map(",".join, rows)) + "\n"


def broken_checksum():
    content = bytearray(gzip_bytes(GOOD.encode()))
    content[-6] ^= 1
    return bytes(content)


# name: (files, arguments after those of every row, exit code, what the line must say)
TRAIN = {
    "missing": ({}, ["--train=none.csv"], 66, ["none.csv"]),
    "missing_labels": (
        {"x": idx_bytes(IMAGES)},
        ["--train=x", "--train-labels=none"],
        66,
        ["none"],
    ),
    "missing_test": ({"a.csv": GOOD}, ["--train=a.csv", "--test=none.csv"], 66, ["none.csv"]),
    "gz_cut": (
        {"a.csv.gz": gzip_bytes(GOOD.encode())[:300]},
        ["--train=a.csv.gz"],
        65,
        ["a.csv.gz@300", "found", "expected"],
    ),
    "gz_damaged": (
        {"a.csv.gz": broken_checksum()},
        ["--train=a.csv.gz"],
        65,
        ["a.csv.gz", "found", "expected"],
    ),
    "csv_cut": ({"a.csv": GOOD[: GOOD.rindex(",") - 3]}, ["--train=a.csv"], 65, ["a.csv:40", "found 6", "expected 7"]),
    "csv_ragged": (
        {"a.csv": GOOD + "1,2,3\n"},
        ["--train=a.csv"],
        65,
        ["a.csv:41", "found 3", "expected 7"],
    ),
    "idx_cut": (
        {"x": idx_bytes(IMAGES)[:-1], "y": idx_bytes(CLASSES)},
        ["--train=x", "--train-labels=y"],
        65,
        ["x@4", "found 375 bytes", "expected 376"],
    ),
    "idx_header_cut": (
        {"x": idx_bytes(IMAGES)[:9], "y": idx_bytes(CLASSES)},
        ["--train=x", "--train-labels=y"],
        65,
        ["x@4", "found", "expected"],
    ),
    "idx_sizes_overflow": (
        {"x": bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3), "y": idx_bytes(CLASSES)},
        ["--train=x", "--train-labels=y"],
        65,
        ["x@4", "found", "expected"],
    ),
    "png_as_idx": (
        {"x.png": PNG},
        ["--train=x.png", "--format=idx"],
        65,
        ["x.png@0", "found 89504e47", "expected"],
    ),
    "png_as_csv": (
        {"x.png": PNG},
        ["--train=x.png", "--format=csv"],
        65,
        ["x.png", "found", "expected"],
    ),
    "png": ({"x.png": PNG}, ["--train=x.png"], 65, ["x.png", "found", "expected"]),
    "csv_as_idx": (
        {"a.csv": GOOD},
        ["--train=a.csv", "--format=idx"],
        65,
        ["a.csv@0", "found", "expected"],
    ),
    "label_outside_the_classes": (
        {"a.csv": GOOD, "b.csv": changed(4, -1, "9")},
        ["--train=a.csv", "--test=b.csv"],
        65,
        ["b.csv", "row 5", "found '9'", "expected one of the 3 classes"],
    ),
    "label_not_whole": (
        {"a.csv": changed(4, -1, "1.5")},
        ["--train=a.csv"],
        65,
        ["a.csv", "row 5", "found 1.5", "expected a whole number"],
    ),
    "label_nan": (
        {"a.csv": changed(4, -1, "nan")},
        ["--train=a.csv"],
        65,
        ["a.csv", "row 5", "found nan", "expected"],
    ),
    "label_count": (
        {"x": idx_bytes(IMAGES), "y": idx_bytes(CLASSES[:-1])},
        ["--train=x", "--train-labels=y"],
        65,
        ["y: labels", "found 39", "expected 40"],
    ),
    "labels_as_inputs": (
        {"y": idx_bytes(CLASSES)},
        ["--train=y", "--train-labels=y"],
        65,
        ["y", "found", "expected"],
    ),
    "no_labels": (
        {"x": idx_bytes(IMAGES)},
        ["--train=x"],
        65,
        ["x: labels", "found none", "expected"],
    ),
    "one_class": (
        {"a.csv": csv_text(INPUTS, np.ones(40, int))},
        ["--train=a.csv"],
        65,
        ["a.csv: classes", "found 1", "expected at least 2"],
    ),
    "test_features": (
        {"a.csv": GOOD, "b.csv": csv_text(INPUTS[:, :5], LABELS)},
        ["--train=a.csv", "--test=b.csv"],
        65,
        ["b.csv: features", "found 5", "expected 6"],
    ),
    "nan": (
        {"a.csv": changed(6, 2, "nan")},
        ["--train=a.csv"],
        65,
        ["a.csv:7: column 3", "found 'nan'", "expected a finite number", "data.nan"],
    ),
    "infinity": (
        {"a.csv": changed(6, 2, "-inf")},
        ["--train=a.csv"],
        65,
        ["a.csv:7: column 3", "found '-inf'", "expected a finite number"],
    ),
    "beyond_float": (
        {"a.csv": changed(6, 2, "1e39")},
        ["--train=a.csv"],
        65,
        ["a.csv:7: column 3", "found '1e39'", "expected a finite number"],
    ),
    "not_a_number": (
        {"a.csv": changed(6, 2, "0x1p3")},
        ["--train=a.csv"],
        65,
        ["a.csv:7: column 3", "found '0x1p3'", "expected"],
    ),
    "empty": ({"a.csv": ""}, ["--train=a.csv"], 65, ["a.csv:1", "found", "expected samples"]),
    "empty_gz": (
        {"a.csv.gz": gzip_bytes(b"")},
        ["--train=a.csv.gz"],
        65,
        ["a.csv.gz", "found", "expected"],
    ),
    "header_alone": (
        {"a.csv": "a,b,c\n"},
        ["--train=a.csv"],
        65,
        ["a.csv", "found", "expected"],
    ),
    "no_samples": (
        {"x": idx_bytes(IMAGES[:0]), "y": idx_bytes(CLASSES[:0])},
        ["--train=x", "--train-labels=y"],
        65,
        ["x: samples", "found 0", "expected at least 1"],
    ),
    "directory": ({}, ["--train=."], 65, ["images, found none", "expected JPEG or PNG"]),
    "device": ({}, ["--train=/dev/zero"], 65, ["/dev/zero", "found", "expected a file"]),
}


@pytest.mark.parametrize("row", TRAIN.values(), ids=TRAIN.keys())
def test_training_refuses(row, tulle):
    files, arguments, code, words = row
    for name, content in files.items():
        content = content.encode() if isinstance(content, str) else content
        (tulle.folder / name).write_bytes(content)
    before = contents(tulle.folder)
    result = tulle("train", "--hidden=4", "--epochs=1", "--compare-dense=none", *arguments)
    assert_refused(result, code, *words)
    assert contents(tulle.folder) == before


def test_a_pipe_with_a_name_is_refused_at_once(tulle):
    os.mkfifo(tulle.folder / "pipe")
    assert_refused(tulle("train", "--train=pipe"), 65, "pipe", "expected a file")


# name: (files, arguments, exit code, what the line must say); the model has 6 inputs and the classes 0, 1, 2
USE = {
    "predict_features": (
        {"a.csv": csv_text(INPUTS[:, :5])},
        ["predict", "out/run/model.safetensors", "--data=a.csv"],
        65,
        ["a.csv: features", "found 5", "expected 6 as in the model"],
    ),
    "predict_missing": (
        {},
        ["predict", "out/run/model.safetensors", "--data=none.csv"],
        66,
        ["none.csv"],
    ),
    "predict_nan": (
        {"a.csv": csv_text(INPUTS).replace(csv_text(INPUTS)[:4], "nan,", 1)},
        ["predict", "out/run/model.safetensors", "--data=a.csv"],
        65,
        ["a.csv:1", "found 'nan'", "expected"],
    ),
    "predict_dropping_rows": (
        {"a.csv": csv_text(INPUTS)},
        ["predict", "out/run/model.safetensors", "--data=a.csv", "--set=data.nan=drop"],
        78,
        ["data.nan", "found 'drop'", "expected"],
    ),
    "predict_nothing": (
        {},
        ["predict", "out/run/model.safetensors"],
        78,
        ["data.train", "found nothing", "expected a file"],
    ),
    "eval_features": (
        {"a.csv": csv_text(INPUTS[:, :5], LABELS)},
        ["eval", "out/run/model.safetensors", "--data=a.csv"],
        65,
        ["a.csv: features", "found 5", "expected 6 as in the model"],
    ),
    "eval_unknown_label": (
        {"a.csv": changed(0, -1, "7")},
        ["eval", "out/run/model.safetensors", "--data=a.csv"],
        65,
        ["a.csv", "row 1", "found '7'", "expected one of the 3 classes"],
    ),
    "eval_closed_pipe": (
        {},
        ["eval", "out/run/model.safetensors", "--data=-"],
        65,
        ["found", "expected"],
    ),
}


@pytest.mark.parametrize("row", USE.values(), ids=USE.keys())
def test_a_model_refuses(row, trained, tulle):
    files, arguments, code, words = row
    for name, content in files.items():
        (trained / name).write_text(content)
    before = contents(trained)
    assert_refused(tulle(*arguments, "-o=x.csv" if arguments[0] == "predict" else "--json"), code, *words)
    assert contents(trained) == before
