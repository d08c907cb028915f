"""The data sets of the experiments: where they are, how they are read, the network each is trained with.

A data set is a list of (train, test) parts, most of them one, and the flags of `tulle train` that go with them.
Folder of the files: TULLE_DATA, or ../shared/data beside the repository.
"""

import gzip
import os
import pathlib
from dataclasses import dataclass

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("TULLE_DATA", ROOT.parent / "shared/data"))
FASHION = pathlib.Path(os.environ.get("TULLE_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


@dataclass
class DataSet:
    flags: dict  # of `tulle train`: the network and what the data needs
    epochs: int
    parts: object  # folder for files made on the way -> list of {train, test, ...} flags
    rates: tuple = (0.03, 0.1, 0.3)
    score: str = "accuracy"


def idx(folder, test="t10k"):
    def parts(_):
        return [
            {
                "train": folder / "train-images-idx3-ubyte.gz",
                "train-labels": folder / "train-labels-idx1-ubyte.gz",
                "test": folder / f"{test}-images-idx3-ubyte.gz",
                "test-labels": folder / f"{test}-labels-idx1-ubyte.gz",
            }
        ]

    return parts


def files(train, test, **flags):
    return lambda _: [{"train": DATA / train, "test": DATA / test, **flags}]


def madelon(_):
    folder = DATA / "madelon"
    return [
        {
            "train": folder / "madelon_train.data",
            "train-labels": folder / "madelon_train.labels",
            "test": folder / "madelon_valid.data",
            "test-labels": folder / "madelon_valid.labels",
        }
    ]


def save_parts(x, y, folds, folder):
    """One pair of .npz files for each fold, a list of test rows."""
    parts = []
    for i, test in enumerate(folds):
        train = np.setdiff1d(np.arange(len(y)), test)
        for name, rows in (("train", train), ("test", test)):
            np.savez(folder / f"{name}-{i}.npz", X=x[rows].astype(np.float32), y=y[rows].astype(np.int64))
        parts.append({"train": folder / f"train-{i}.npz", "test": folder / f"test-{i}.npz"})
    return parts


def stratified_folds(y, count, repeats, seed):
    """`repeats` times `count` folds, each class dealt out evenly."""
    rng = np.random.default_rng(seed)
    folds = []
    for _ in range(repeats):
        fold_of = np.empty(len(y), dtype=int)
        next_fold = 0
        for label in np.unique(y):
            rows = rng.permutation(np.flatnonzero(y == label))
            fold_of[rows] = (next_fold + np.arange(len(rows))) % count
            next_fold = (next_fold + len(rows)) % count
        folds += [np.flatnonzero(fold_of == f) for f in range(count)]
    return folds


def leukemia(folder, repeats=5):
    """ALL: the four molecular classes with at least five samples, repeated stratified 5-fold cross-validation."""
    with gzip.open(DATA / "microarray/ALL_molbiol_128x12625.csv.gz", "rt") as lines:
        next(lines)
        rows = [line.rstrip("\n").split(",") for line in lines]
    names = np.array([row[0].strip('"') for row in rows])
    x = np.array([[float(v) for v in row[1:]] for row in rows], dtype=np.float32)
    classes, counts = np.unique(names, return_counts=True)
    kept = np.isin(names, classes[counts >= 5])
    y = np.unique(names[kept], return_inverse=True)[1]
    return save_parts(x[kept], y, stratified_folds(y, 5, repeats, 1), folder)


def matlab(name, folds, repeats):
    def parts(folder):
        from scipy.io import loadmat

        content = loadmat(DATA / f"microarray/{name}.mat")
        x, y = content["X"].astype(np.float32), content["Y"].ravel().astype(np.int64)
        return save_parts(x, y, stratified_folds(y, folds, repeats, 1), folder)

    return parts


def higgs(folder):
    """The 19,610 rows: the last 4,000 of a seeded order are the test part."""
    with gzip.open(DATA / "higgs/HIGGS_19610.csv.gz", "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.float32)
    order = np.random.default_rng(1).permutation(len(table))
    return save_parts(table[:, 1:], table[:, 0], [order[-4000:]], folder)


MLP = {"hidden": "1000,1000,1000"}
# Few samples of many genes. Chosen by 5-fold cross-validation within four fifths of ALL leukemia: genes keep what
# they vary more than others (standardised ones cost 6 points there), one hidden layer (two cost 7), gradients choose
# what grows (4 points over random growth).
GENES = {
    "hidden": "1000",
    "activation": "relu",
    "dropout": 0,
    "distribution": "erk",
    "density": 0.02,
    "fan": "sparse",
    "scale": "center",
    "optimizer": "adam",
    "weight-decay": 1e-4,
    "batch-size": 8,
    "update-every": "100 step",
    "stop-after": 1,
}
DATASETS = {
    "fashion-mnist": DataSet(MLP, 40, idx(FASHION)),
    "fashion-mnist-98": DataSet(MLP | {"distribution": "erk", "density": 0.02}, 40, idx(FASHION)),
    "mnist": DataSet(MLP, 40, idx(DATA / "mnist")),
    "cifar10": DataSet(
        {"hidden": "4000,1000,4000", "alpha": 0.75},
        40,
        files("cifar10-jpeg/cifar10-jpeg-train-40000.tar.gz", "cifar10-jpeg/cifar10-jpeg-test-5000.tar.gz"),
        rates=(0.01, 0.03, 0.1),
    ),
    "madelon": DataSet(
        {"hidden": "400,100,400", "alpha": 0.5, "epsilon": 10, "batch-size": 32, "sep": "blank"},
        80,
        madelon,
        rates=(0.003, 0.01, 0.03),
    ),
    "higgs": DataSet(MLP | {"alpha": 0.05, "epsilon": 10}, 30, higgs),
    "leukemia": DataSet(GENES, 100, leukemia, rates=(1e-4, 3e-4, 1e-3)),
    "arcene": DataSet(
        {"hidden": "1000,1000", "alpha": 0.75, "epsilon": 10, "batch-size": 8},
        30,
        matlab("arcene", 5, 1),
        rates=(0.003, 0.01, 0.03),
    ),
    "nci9": DataSet(
        {"hidden": "1000,1000", "alpha": 0.75, "epsilon": 10, "batch-size": 8},
        30,
        matlab("nci9", 2, 3),
        rates=(0.003, 0.01, 0.03),
    ),
    "adult": DataSet(
        {"hidden": "200,200", "scale": "none"}, 20, files("libsvm/adult.trn.gz", "libsvm/adult.tst.gz"), rates=(0.01, 0.03, 0.1)
    ),
    "reuters": DataSet({"hidden": "500,500", "scale": "maxabs"}, 20, files("libsvm/reuters.trn.gz", "libsvm/reuters.tst.gz")),
    "pcmac": DataSet({"hidden": "500,500", "scale": "maxabs"}, 20, files("libsvm/PCMAC.trn.gz", "libsvm/PCMAC.tst.gz")),
    "delicious": DataSet(
        {"hidden": "500,500", "scale": "none", "loss": "bce"},
        30,
        files("multilabel/delicious_train.txt.gz", "multilabel/delicious_test.txt.gz"),
        rates=(0.01, 0.03, 0.1),
        score="precision at 1",
    ),
}
