#!/usr/bin/env python3
"""Makes the data sets of the sparse recovery experiments that are parts of others: binary MNIST, MNIST in the published split, binary
CIFAR. Writes .npz files with X and y to out/recovery/data.

Usage: prepare.py   (data in TULLE_DATA, or ../shared/data beside the repository)
"""

import gzip
import os
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("TULLE_DATA", ROOT.parent / "shared/data"))
OUT = pathlib.Path("out/recovery/data")


def idx(name):
    with gzip.open(DATA / "mnist" / name, "rb") as file:
        content = file.read()
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def digits(wanted):
    """The first 5,000 of each digit, then the next 1,000, of training and test files in their order."""
    images = np.concatenate([idx("train-images-idx3-ubyte.gz"), idx("t10k-images-idx3-ubyte.gz")]).reshape(-1, 784)
    labels = np.concatenate([idx("train-labels-idx1-ubyte.gz"), idx("t10k-labels-idx1-ubyte.gz")])
    rows = [np.flatnonzero(labels == digit) for digit in wanted]
    for part, take in (("train", slice(0, 5000)), ("test", slice(5000, 6000))):
        chosen = np.concatenate([of_digit[take] for of_digit in rows])
        yield part, images[chosen].astype(np.float32), labels[chosen].astype(np.int64)


def cifar(wanted):
    """Records of the small JPEG copy: 300 training and 100 test images a class."""
    for part, name in (("train", "data_batch_1.bin.gz"), ("test", "test_batch.bin.gz")):
        path = DATA / "cifar10-jpeg" / name
        with gzip.open(path, "rb") as file:
            records = np.frombuffer(file.read(), np.uint8).reshape(-1, 3073)
        chosen = records[np.isin(records[:, 0], wanted)]
        yield part, chosen[:, 1:].astype(np.float32), chosen[:, 0].astype(np.int64)


def save(name, parts):
    OUT.mkdir(parents=True, exist_ok=True)
    for part, x, y in parts:
        np.savez(OUT / f"{name}-{part}.npz", X=x, y=y)
        print(f"{name}-{part}.npz: {x.shape[0]} x {x.shape[1]}, classes {sorted(set(y.tolist()))}")


save("mnist-01", digits([0, 1]))
save("mnist", digits(range(10)))
save("cifar-binary", cifar([0, 1]))
