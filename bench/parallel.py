#!/usr/bin/env python3
"""Ranks beside threads on the Fashion-MNIST network: time of an epoch, bytes on the wire, wasap's accuracy.

Usage: parallel.py TULLE [--repeats 5] [--accuracy]
Every row is the fastest epoch of so many interleaved runs; ratios are to one rank with one thread. `none` is a training
without modes: what a rank is to be compared with. Two trainings at once that share nothing tell how much two cores of
this machine can be. --accuracy also trains wasap and local-sgd beside one process, for
as many epochs each, three seeds (minutes).
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

FASHION = """
[run]
out = "out"
preset = "published"
[data]
format = "fashion-mnist"
[log]
compare_dense = "none"
report = false
progress = "none"
"""
MPIRUN = ["mpirun", "--oversubscribe", "--mca", "mpi_yield_when_idle", "1"]
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class Runs:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.names = pathlib.Path(binary).resolve(), folder, itertools.count()
        (folder / "fashion.toml").write_text(FASHION)

    def train(self, *flags, ranks=0):
        """Records of one training; `ranks` processes under mpirun, 0: one process."""
        name = str(next(self.names))
        command = [self.binary, "train", "fashion.toml", "--quiet", f"--name={name}", *flags]
        launcher = [*MPIRUN, "-n", str(ranks)] if ranks else []
        start = time.monotonic()
        subprocess.run([*launcher, *map(str, command)], cwd=self.folder, check=True, env=ENVIRONMENT,
                       stdout=subprocess.DEVNULL)
        wall = time.monotonic() - start
        lines = (self.folder / "out" / name / "metrics.jsonl").read_text().splitlines()
        return wall, [json.loads(line) for line in lines]


def epochs(records):
    return [r for r in records if r["event"] == "epoch"]


def seconds(records):
    """Of the fastest epoch, without evaluation and topology event."""
    return min(sum(e["phase_s"][p] for p in ("data", "forward", "backward", "update", "exchange")) for e in epochs(records))


def bytes_per_connection(records):
    """One way, per step, of rank 0."""
    last = [r for r in records if r["event"] == "parallel"][-1]
    final = epochs(records)[-1]
    return max(last["sent"], last["received"]) / final["step"] / final["nnz"]


def speed(runs, repeats, has_mpi, rows_wanted):
    common = ["--batch-size=256", "--epochs=3"]
    rows = {
        "none, 1 thread": (["--threads=1"], 0),
        "none, 2 threads": (["--threads=2"], 0),
        "sync, 1 rank": (["--mode=sync", "--threads=1"], 0),
        "sync, 2 ranks, threads": (["--mode=sync", "--ranks=2", "--threads=1"], 0),
        "sync, 2 ranks, MPI": (["--mode=sync", "--threads=1"], 2),
        "sync, 2 ranks, threads, bf16": (["--mode=sync", "--ranks=2", "--threads=1", "--wire=bf16"], 0),
        "sync, 16 shards, 1 rank": (["--mode=sync", "--threads=1", "--virtual-shards=16"], 0),
        "sync, 16 shards, 2 ranks, threads": (["--mode=sync", "--ranks=2", "--threads=1", "--virtual-shards=16"], 0),
        "local-sgd, 2 ranks, threads": (["--mode=local-sgd", "--ranks=2", "--threads=1"], 0),
        "local-sgd, 2 ranks, MPI": (["--mode=local-sgd", "--threads=1"], 2),
        "wasap, 2 workers, threads": (["--mode=wasap", "--ranks=2", "--threads=1", "--phase1=1"], 0),
        "wasap, 2 workers, MPI": (["--mode=wasap", "--threads=1", "--phase1=1"], 2),
    }
    best, traffic = {}, {}
    at_once = 1e9
    for _ in range(repeats):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = pool.map(lambda _: runs.train(*common, "--threads=1")[1], range(2))
            at_once = min(at_once, max(map(seconds, both)))
        for name, (flags, ranks) in rows.items():
            if (ranks and not has_mpi) or (rows_wanted and not any(word in name for word in rows_wanted)):
                continue
            _, records = runs.train(*common, *flags, ranks=ranks)
            best[name] = min(best.get(name, 1e9), seconds(records))
            if "2 " in name and not name.startswith("none"):
                traffic[name] = bytes_per_connection(records)
    print("| Fashion-MNIST, global batch 256 (wasap: 256 a worker) | s an epoch | x one rank | B a connection, step and way |")
    print("|---|---|---|---|")
    one = best["none, 1 thread"]
    print(f"| two trainings of 1 thread at once, each | {at_once:.3f} | {2 * one / at_once:.2f} in all |  |")
    for name, value in best.items():
        sent = f"{traffic[name]:.3f}" if name in traffic else ""
        print(f"| {name} | {value:.3f} | {one / value:.2f} | {sent} |", flush=True)


def published_shape(runs, repeats, has_mpi):
    flags = ["--max-rows=12000", "--epochs=4", "--mode=wasap", "--threads=1"]
    print("\n| wasap, 2 workers, 12,000 samples, 4 epochs, phase 2 and reading the data included | s |\n|---|---|")
    print("| the published program (its own measurement, 2 threads of 2 cores) | 58.7 |")
    print(f"| threads | {min(runs.train(*flags, '--ranks=2')[0] for _ in range(repeats)):.2f} |")
    if has_mpi:
        print(f"| MPI, mpirun included | {min(runs.train(*flags, ranks=2)[0] for _ in range(repeats)):.2f} |")


def accuracy(runs):
    modes = {
        "one process": [],
        "wasap, 2 workers": ["--mode=wasap", "--ranks=2"],
        "wassp, 2 workers, batch 64 each": ["--mode=wassp", "--ranks=2", "--batch-size=64", "--lr-scale=none"],
        "local-sgd, 2 ranks, 100 steps": ["--mode=local-sgd", "--ranks=2"],
    }
    print("\n| 20 epochs, batch 128, seeds 1 to 3, test accuracy after the last | mean % | all |\n|---|---|---|")
    for name, flags in modes.items():
        found = []
        for seed in (1, 2, 3):
            _, records = runs.train("--epochs=20", f"--seed={seed}", *flags)
            rows = [r for r in records if r["event"] == "result"][-1]["rows"]
            found.append(100 * next(row["sparse"] for row in rows if row["name"] == "test accuracy"))
        print(f"| {name} | {statistics.mean(found):.2f} | {', '.join(f'{a:.2f}' for a in found)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", nargs="*", help="only rows that contain one of these, and the first")
    parser.add_argument("--accuracy", action="store_true")
    arguments = parser.parse_args()
    has_mpi = shutil.which("mpirun") is not None and pathlib.Path(arguments.binary).with_name("libtulle_mpi.so").exists()
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(arguments.binary, pathlib.Path(folder))
        wanted = arguments.rows and ["none, 1 thread", *arguments.rows]
        speed(runs, arguments.repeats, has_mpi, wanted)
        if wanted:
            return
        published_shape(runs, arguments.repeats, has_mpi)
        if arguments.accuracy:
            accuracy(runs)


if __name__ == "__main__":
    main()
