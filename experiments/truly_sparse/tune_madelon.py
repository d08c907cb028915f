#!/usr/bin/env python3
"""Chooses the hyper-parameters of Madelon by 5-fold cross-validation on its 2,000 training samples, then trains on all of
them with five seeds and tells the accuracy on the 600 validation samples, which play the test set and choose nothing.

Usage: tune_madelon.py BINARY [--out DIR] [--limit CONFIGURATIONS]
"""

import argparse
import itertools
import json
import pathlib
import random
import shutil
import statistics
import tempfile

import numpy as np

from datasets import DATA, madelon, save_parts, stratified_folds
from run import train

GRID = {
    "hidden": ["400,100,400", "200,50"],
    "epochs": [100, 300],
    "epsilon": [2, 5, 10],
    "dropout": [0.2, 0.5],
    "weight-decay": [0.0005, 0.01, 0.03],
    "learning-rate": [0.003, 0.01],
    "activation": ["all-relu", "relu"],
    "stop-after": [0.75, 1.0],
}
COMMON = {"preset": "modern", "alpha": 0.5, "batch-size": 32, "rule": "set", "zeta": 0.3, "threads": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/experiments"))
    parser.add_argument("--limit", type=int, default=60)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    x = np.loadtxt(DATA / "madelon/madelon_train.data", dtype=np.float32)
    y = np.loadtxt(DATA / "madelon/madelon_train.labels").astype(int)
    everything = [dict(zip(GRID, values)) for values in itertools.product(*GRID.values())]
    random.Random(1).shuffle(everything)
    best, best_score = None, -1.0
    with tempfile.TemporaryDirectory() as folder, open(args.out / "madelon-tuning.jsonl", "a") as log:
        parts = save_parts(x, y, stratified_folds(y, 5, 1, 1), pathlib.Path(folder))
        for choice in everything[: args.limit]:
            scores = []
            for part in parts:
                result = train(args.binary, COMMON | choice | part | {"seed": 1}, folder + "/out")
                scores.append(0.0 if result is None else result["test"])
                shutil.rmtree(folder + "/out")
            score = statistics.fmean(scores)
            print(json.dumps(choice | {"score": score}), file=log, flush=True)
            if score > best_score:
                best, best_score = choice, score
                print(f"{100 * score:.2f} % {choice}", flush=True)
        tests = []
        for seed in range(1, 6):
            tests.append(100 * train(args.binary, COMMON | best | madelon(None)[0] | {"seed": seed, "sep": "blank"}, folder + "/out")["test"])
            shutil.rmtree(folder + "/out")
    text = f"madelon: cross-validation {100 * best_score:.2f} % with {best}; validation samples {statistics.fmean(tests):.2f} ± {statistics.stdev(tests):.2f} %"
    print(text)
    (args.out / "madelon-tuned.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
