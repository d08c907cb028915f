#!/usr/bin/env python3
"""The published form of accelerated iterative hard thresholding by tulle beside an independent one in NumPy, cell by cell.

Both find planted nets of one hidden layer (n 5,000, d 100, 15 steps). Each draws its own data, nets and gates from the same laws, so
single cells differ by far more than their means over the seeds.

Usage: recover_parity.py BINARY [--seeds 10]
"""

import argparse
import csv
import pathlib
import subprocess
import tempfile

import numpy as np
from recover_numpy import planted, recover

WIDTHS, BUDGETS, SAMPLES, FEATURES, STEPS = (10, 50, 200), (10, 50, 200), 5000, 100, 15
PLANTED = pathlib.Path(__file__).parents[2] / "experiments/sparse_recovery/planted.toml"


def psnr_of_tulle(binary, seeds):
    """{(m, s): [PSNR of each seed]}"""
    with tempfile.TemporaryDirectory() as folder:
        words = ["recover", "grid", PLANTED, "--published", "--methods", "aiht", "--n", SAMPLES, "--steps", STEPS, "--seeds", f"0..{seeds - 1}",
                 "--widths", ",".join(map(str, WIDTHS)), "--budgets", ",".join(map(str, BUDGETS)), "--out", folder, "-q"]
        subprocess.run([binary, *map(str, words)], check=True)
        found = {}
        for row in csv.DictReader(next(pathlib.Path(folder).rglob("*.csv")).open()):
            found.setdefault((int(row["hidden_width"]), int(row["budget"])), []).append(float(row["psnr"]))
        return found


def psnr_of_numpy(m, s, seed):
    x, y = planted(np, SAMPLES, FEATURES, m, s, seed)
    return recover(np, x, y, m, s, STEPS, seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    ours = psnr_of_tulle(args.binary, args.seeds)
    print(f"mean PSNR in dB of {args.seeds} seeds, the standard error of the difference, and that of a mean of three seeds")
    print(f"{'m':>5} {'s':>5} {'tulle':>7} {'NumPy':>7} {'difference':>11} {'+-':>5} {'of three':>9}")
    for m in WIDTHS:
        for s in BUDGETS:
            theirs = [psnr_of_numpy(m, s, seed) for seed in range(args.seeds)]
            spread = np.var(ours[m, s], ddof=1) + np.var(theirs, ddof=1)
            print(f"{m:5} {s:5} {np.mean(ours[m, s]):7.1f} {np.mean(theirs):7.1f} {np.mean(ours[m, s]) - np.mean(theirs):11.1f}"
                  f" {np.sqrt(spread / args.seeds):5.1f} {np.sqrt(spread / 2 / 3):9.1f}", flush=True)


if __name__ == "__main__":
    main()
