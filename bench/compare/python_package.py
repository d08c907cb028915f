#!/usr/bin/env python3
"""The Python package beside the command line (same run, same bits), and beside scikit-learn's MLPClassifier.

  PYTHONPATH=build/release/python .venv/bin/python bench/compare/python_package.py build/release/tulle [--seeds 3]

Fashion-MNIST, 784-1000-1000-10. Times are the smallest of several, in turns; accuracy is that of the last epoch, the
mean over the seeds. scikit-learn gets the best of three learning rates on a tenth of the training data held out.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path


def beside_command_line(binary, data, threads, repeats):
    import tulle

    X, y, _, _ = data
    times = {"python": [], "command line": []}
    for _ in range(repeats):
        clf = tulle.SparseMLPClassifier(
            hidden=(1000, 1000, 1000), epsilon=20, max_iter=6, random_state=1, threads=threads, scale="standard",
            batch_size=128, activation="all-relu",
        )  # fmt: skip
        began = time.perf_counter()
        clf.fit(X, y)
        times["python"].append((time.perf_counter() - began, sum(record["seconds"] for record in clf.history_)))
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "run.toml")
            config.write_text(clf.config_)
            began = time.perf_counter()
            subprocess.run(
                [binary, "train", config, "--format", "fashion-mnist", "--train", "", "--test", "", "--out", folder,
                 "--name", "run", "--compare-dense", "none", "--report", "false", "-q"], check=True,
            )  # fmt: skip
            wall = time.perf_counter() - began
            import json

            lines = [json.loads(line) for line in Path(folder, "run/metrics.jsonl").read_text().splitlines()]
            times["command line"].append((wall, sum(line["seconds"] for line in lines if line["event"] == "epoch")))
            theirs = tulle.load(Path(folder, "run/model.safetensors"))
    same = all((a != b).sum() == 0 for a, b in zip(clf.weights_, theirs.weights))
    print(f"\nfit beside the command line: 784-1000-1000-1000-10, 6 epochs, {threads} threads, {repeats} times in turns")
    for name, pairs in times.items():
        print(f"  {name:<14} {min(p[0] for p in pairs):7.2f} s in all   {min(p[1] for p in pairs):7.2f} s of it training")
    ratio = min(p[1] for p in times["python"]) / min(p[1] for p in times["command line"])
    print(f"  python / command line: {ratio:.3f} (training alone)   same bits: {same}")


def beside_scikit_learn(data, threads, seeds, epochs):
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    import tulle

    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y, Xt, yt = data
    X, Xt = (X / 255).astype(np.float32), (Xt / 255).astype(np.float32)

    def theirs(seed, rate):
        return MLPClassifier((1000, 1000), batch_size=128, max_iter=epochs, learning_rate_init=rate, random_state=seed)

    def ours(seed, rate):
        return tulle.SparseMLPClassifier(
            hidden=(1000, 1000), density=0.05, batch_size=128, max_iter=epochs, learning_rate=rate, random_state=seed,
            threads=threads, schedule="cosine", dropout=0.1, scale="standard",
        )  # fmt: skip

    results = {}
    for name, make, rates in (("tulle", ours, (1e-3, 2e-3, 4e-3)), ("scikit-learn", theirs, (5e-4, 1e-3, 2e-3))):
        held = np.random.default_rng(0).permutation(len(y))
        fit_rows, held_rows = held[6000:], held[:6000]
        rate = max(rates, key=lambda r: make(0, r).fit(X[fit_rows], y[fit_rows]).score(X[held_rows], y[held_rows]))
        scores, seconds = [], []
        for seed in range(1, seeds + 1):
            model = make(seed, rate)
            began = time.perf_counter()
            model.fit(X, y)
            seconds.append(time.perf_counter() - began)
            scores.append(model.score(Xt, yt))
        results[name] = min(seconds), statistics.mean(scores)
        spread = statistics.stdev(scores) if seeds > 1 else 0.0
        print(f"  {name:<14} {min(seconds):8.2f} s   {100 * statistics.mean(scores):.2f} +- {100 * spread:.2f} %   rate {rate:g}", flush=True)
    print(f"  {results['scikit-learn'][0] / results['tulle'][0]:.1f} x faster, {100 * (results['tulle'][1] - results['scikit-learn'][1]):+.2f} points")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--only", choices=["fit", "scikit-learn"])
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(options.threads))
    import tulle

    data = tulle.data.fashion_mnist()
    if options.only != "scikit-learn":
        beside_command_line(options.binary, data, options.threads, options.repeats)
    if options.only != "fit":
        print(f"\nSparseMLPClassifier at 5 % beside MLPClassifier: 784-1000-1000-10, {options.epochs} epochs, {options.seeds} seeds")
        beside_scikit_learn(data, options.threads, options.seeds, options.epochs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
