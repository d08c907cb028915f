#!/usr/bin/env python3
"""Chooses the hyper-parameters of Madelon by 5-fold cross-validation on its 2,000 training samples, one after the other from
a first guess: of each, the value with the best mean accuracy over the folds stays. Then trains on all 2,000 with five seeds and
tells the accuracy on the 600 validation samples, which play the test set and choose nothing.

Usage: tune_madelon.py BINARY [--out DIR]
"""

import argparse
import json
import pathlib
import shutil
import statistics
import tempfile

import numpy as np

from datasets import DATA, madelon, save_parts, stratified_folds
from run import train

# Five of 500 features tell the class together, fifteen are sums of them, all others are noise: what helps is to
# start with many connections and to end with so few that noise has none.
FIRST = {
    "preset": "modern",
    "hidden": "400,100,400",
    "alpha": 0.5,
    "batch-size": 32,
    "optimizer": "adamw",
    "learning-rate": 0.001,
    "weight-decay": 0.05,
    "epochs": 80,
    "distribution": "erk",
    "density": 0.2,
    "rule": "granet",
    "final-density": 0.01,
    "density-until": 0.6,
    "stop-after": 1,
    "update-every": "50 step",
    "threads": 1,
}
TRIED = {
    "rule": ["set", "granet"],
    "final-density": [0.02, 0.005, 0.003, 0.002, 0.001, 0.0005],
    "scope": ["global"],
    "density": [0.1, 0.5],
    "learning-rate": [0.0005, 0.003],
    "weight-decay": [0.01, 0.2],
    "dropout": [0, 0.1, 0.3],
    "activation": ["relu"],
    "update-every": ["20 step", "100 step"],
    "hidden": ["400,400", "200,50"],
    "epochs": [160],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/experiments"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    x = np.loadtxt(DATA / "madelon/madelon_train.data", dtype=np.float32)
    y = np.loadtxt(DATA / "madelon/madelon_train.labels").astype(int)
    with tempfile.TemporaryDirectory() as folder, open(args.out / "madelon-tuning.jsonl", "a") as log:

        def accuracy(choice, part, seed):
            result = train(args.binary, choice | part | {"seed": seed}, folder + "/out")
            shutil.rmtree(folder + "/out", ignore_errors=True)
            return 0.0 if result is None else 100 * result["test"]

        parts = save_parts(x, y, stratified_folds(y, 5, 1, 1), pathlib.Path(folder))

        def validated(choice):
            score = statistics.fmean(accuracy(choice, part, 1) for part in parts)
            print(json.dumps(choice | {"score": score}), file=log, flush=True)
            print(f"{score:.2f} % {choice}", flush=True)
            return score

        best, best_score = FIRST, validated(FIRST)
        for key, values in TRIED.items():
            for choice in [best | {key: value} for value in values if best.get(key) != value]:
                if (score := validated(choice)) > best_score:
                    best, best_score = choice, score
        tests = [accuracy(best, madelon(None)[0] | {"sep": "blank"}, seed) for seed in range(1, 6)]
    text = (
        f"madelon: cross-validation {best_score:.2f} % with {best}; "
        f"validation samples {statistics.fmean(tests):.2f} ± {statistics.stdev(tests):.2f} %"
    )
    print(text)
    (args.out / "madelon-tuned.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
