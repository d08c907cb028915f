#!/usr/bin/env python3
"""Trains on data that memory does not hold, and on the same data in memory; prints both, and whether the weights are equal.

Usage: larger_than_memory.py TULLE FOLDER [GIB of data, 2] [MIB of memory, 512]

The limit is that of a control group, so the system's page cache counts too; to make one takes root. FOLDER takes twice the data
at its most.
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import time

import numpy as np

FEATURES, CLASSES = 3072, 10
TOML = """
[data]
train = "x.npy"
train_labels = "y.npy"
valid_fraction = 0.02
[model]
hidden = [1000]
[train]
epochs = 1
batch_size = 128
[run]
seed = 1
threads = 2
[log]
report = false
compare_dense = "none"
"""


def make(folder, samples):
    """Bytes around a centre for each class, written a piece at a time."""
    random = np.random.default_rng(1)
    centres = random.integers(40, 215, (CLASSES, FEATURES))
    labels = random.integers(0, CLASSES, samples)
    np.save(folder / "y.npy", labels.astype(np.uint8))
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (samples, FEATURES))
    for first in range(0, samples, 8192):
        part = labels[first : first + 8192]
        noise = random.integers(-40, 40, (len(part), FEATURES), np.int16)
        x[first : first + len(part)] = centres[part] + noise
    x.flush()
    (folder / "larger.toml").write_text(TOML)


class Group:
    """A control group, of either version, that a process joins before it starts the command."""

    def __init__(self, limit):
        one, two = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        self.path = (one if one.is_dir() else two) / "tulle-larger"
        self.path.mkdir(exist_ok=True)
        (self.path / ("memory.limit_in_bytes" if one.is_dir() else "memory.max")).write_text(str(limit))
        self.procs = self.path / "cgroup.procs"

    def close(self):
        self.path.rmdir()


def weights_of(file):
    """The digest of what a model file holds behind its header."""
    bytes_ = file.read_bytes()
    return hashlib.sha256(bytes_[8 + int.from_bytes(bytes_[:8], "little") :]).hexdigest()[:12]


def train(tulle, folder, name, group, *more):
    """Prints a row; the weights' digest."""
    command = [tulle, "train", str(folder / "larger.toml"), "--out", str(folder / "out"), "--name", name, "--progress", "none", *more]
    join = None if group is None else lambda: group.procs.write_text("0")
    start = time.monotonic()
    done = subprocess.run(command, preexec_fn=join, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode:
        sys.exit(f"{name}: exit {done.returncode}: {done.stderr.strip()}")
    run = folder / "out" / name
    epoch = next(record for record in map(json.loads, open(run / "metrics.jsonl")) if record["event"] == "epoch")
    digest = weights_of(run / "model.safetensors")
    print(
        f"{name:<10} {seconds:7.1f} s in all   epoch {epoch['seconds']:6.1f} s, of these {epoch['phase_s']['data']:6.1f} s for data   "
        f"weights {digest}",
        flush=True,
    )
    return digest


def main():
    tulle, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    gib = float(sys.argv[3]) if len(sys.argv) > 3 else 2.0
    mib = int(sys.argv[4]) if len(sys.argv) > 4 else 512
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    samples = int(gib * 2**30 / FEATURES)
    make(folder, samples)
    print(f"{samples} samples of {FEATURES} bytes, {gib:g} GiB; limit {mib} MiB")
    memory = train(tulle, folder, "in-memory", None)
    scratch = train(tulle, folder, "in-files", None, "--scratch", str(folder / "scratch"))
    group = Group(mib << 20)
    limited = train(tulle, folder, "limited", group, "--scratch", str(folder / "scratch"))
    group.close()
    if not memory == scratch == limited:
        sys.exit("the weights differ")
    print("the same weights")


if __name__ == "__main__":
    main()
