#!/usr/bin/env python3
"""Trains one data set with every method, and writes the table of what came out.

For each method three learning rates are tried on a validation split (10 % of the training part, seed 1), and
the best one is trained on the whole training part with every seed. Test accuracy is that of the last epoch and
chooses nothing. Every run's figures go to OUT/DATASET.jsonl, the table to OUT/DATASET.md.

Usage: run.py BINARY DATASET [--seeds 3] [--epochs N] [--methods a,b] [--rates r,r,r] [--threads 2] [--out DIR]
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from datasets import DATASETS

# Flags that make a method, beside the preset `modern`, whose optimizer, schedule and density all share.
METHODS = {
    "dense": {"distribution": "uniform", "density": 1.0, "rule": "none"},
    "dense-relu": {"distribution": "uniform", "density": 1.0, "rule": "none", "activation": "relu"},
    "static": {"rule": "none"},
    "set": {"rule": "set"},
    "rigl": {"rule": "rigl"},
    "gse": {"rule": "gse"},
    "snfs": {"rule": "snfs"},
    "mest": {"rule": "mest"},
    "set-relu": {"rule": "set", "activation": "relu"},
    "set-srelu": {"rule": "set", "activation": "srelu"},
    "set-importance": {
        "rule": "set",
        "importance-percentile": 15,
        "importance-start": "{quarter}",
        "importance-every": "{eighth} epoch",
    },
}


def train(binary, flags, folder):
    """One training; its figures from the metrics file."""
    command = [binary, "train", f"--out={folder}", "--name=run", "--quiet", "--save-every=never", "--report=false"]
    command += ["--compare-dense=none"] + [f"--{key}={value}" for key, value in flags.items()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        if done.returncode == 70:  # diverged: a rate too large
            return None
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    lines = [json.loads(line) for line in open(pathlib.Path(folder) / "run/metrics.jsonl")]
    start = next(line for line in lines if line["event"] == "start")
    epochs = [line for line in lines if line["event"] == "epoch"]
    return {
        "valid": epochs[-1].get("valid_acc"),
        "test": epochs[-1].get("test_acc"),
        "connections": [start["nnz"], epochs[-1]["nnz"]],
        "cells": start["dense"],
        "explored": epochs[-1].get("exploration"),
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        "peak": max(epoch["peak_rss"] for epoch in epochs),
    }


class Experiment:
    def __init__(self, args):
        self.args = args
        self.data = DATASETS[args.dataset]
        self.epochs = args.epochs or self.data.epochs
        self.rates = args.rates or self.data.rates
        args.out.mkdir(parents=True, exist_ok=True)
        self.log = open(args.out / f"{args.dataset}.jsonl", "a")

    def flags(self, method, **more):
        words = {"quarter": max(self.epochs // 4, 1), "eighth": max(self.epochs // 8, 1)}
        own = {k: v.format(**words) if isinstance(v, str) else v for k, v in METHODS[method].items()}
        common = {"preset": "modern", "epochs": self.epochs, "threads": self.args.threads}
        return common | self.data.flags | own | more

    def run(self, method, part, **more):
        with tempfile.TemporaryDirectory() as folder:
            result = train(self.args.binary, self.flags(method, **part, **more), folder)
        record = {"dataset": self.args.dataset, "method": method, "epochs": self.epochs, **more}
        print(json.dumps(record | (result or {"diverged": True})), file=self.log, flush=True)
        return result

    def best_rate(self, method, parts):
        scores = {}
        for rate in self.rates:
            result = self.run(method, parts[0], **{"learning-rate": rate, "seed": 1, "valid-fraction": 0.1})
            scores[rate] = -1.0 if result is None else result["valid"]
        return max(scores, key=scores.get)

    def row(self, method, parts):
        rate = self.best_rate(method, parts)
        results = []
        for seed in range(1, self.args.seeds + 1):
            found = [self.run(method, part, **{"learning-rate": rate, "seed": seed}) for part in parts]
            found = [result for result in found if result is not None]
            if not found:
                continue
            results.append(
                {key: statistics.fmean(result[key] for result in found) for key in ("test", "seconds", "peak")}
                | {"first": found[-1]["connections"][0], "last": found[-1]["connections"][1], "cells": found[-1]["cells"]}
            )
        if not results:
            return f"| {method} | {rate} | diverged | | | | |"
        tests = [100 * result["test"] for result in results]
        spread = statistics.stdev(tests) if len(tests) > 1 else 0.0
        last = results[-1]
        return (
            f"| {method} | {rate} | {statistics.fmean(tests):.2f} ± {spread:.2f} | {last['first']} "
            f"({100 * last['first'] / last['cells']:.2f} %) | {last['last']} | "
            f"{statistics.fmean(r['seconds'] for r in results):.1f} | {max(r['peak'] for r in results) / 1e6:.0f} |"
        )

    def table(self):
        with tempfile.TemporaryDirectory() as folder:
            parts = self.data.parts(pathlib.Path(folder))
            lines = [
                f"### {self.args.dataset}",
                "",
                f"{self.epochs} epochs, {self.args.seeds} seeds, {len(parts)} part(s), flags {self.data.flags}; made by "
                f"`experiments/truly_sparse/run.py build/release/tulle {self.args.dataset}`.",
                "",
                f"| method | rate | test {self.data.score}, % | connections at first | at last | training, s | peak, MB |",
                "|---|---|---|---|---|---|---|",
            ]
            for method in self.args.methods:
                lines.append(self.row(method, parts))
                text = "\n".join(lines) + "\n"
                (self.args.out / f"{self.args.dataset}.md").write_text(text)  # as far as it got
        print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--rates", type=lambda text: [float(rate) for rate in text.split(",")])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/experiments"))
    Experiment(parser.parse_args()).table()


if __name__ == "__main__":
    main()
