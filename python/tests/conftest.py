"""What the tests of the Python package share. The package is found on PYTHONPATH or installed; TULLE_BINARY names the
command line tool that it is compared with (default: the release build)."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("TULLE_BINARY", REPOSITORY / "build" / "release" / "tulle"))


def blobs(rows, seed, features=20, classes=3):
    """Gaussian blobs, one per class: (inputs float32, labels). The centres are the same for every seed."""
    centres = np.random.default_rng(0).normal(0, 2, (classes, features))
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    return (centres[labels] + random.normal(0, 1, (rows, features))).astype(np.float32), labels


@pytest.fixture
def problem():
    """(X, y, X_test, y_test) that is learnt in a moment."""
    return (*blobs(300, 1), *blobs(100, 2))


@pytest.fixture
def command_line(tmp_path):
    """Runs `tulle` in a folder of its own."""
    if not BINARY.is_file():
        pytest.fail(f"{BINARY}: no program to compare with; build it or set TULLE_BINARY")

    def run(*arguments):
        done = subprocess.run([str(BINARY), *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def write_config(folder, inputs, labels, test_inputs, test_labels, **keys):
    """train.npz, test.npz and run.toml with these keys ("section.key"); returns the config's path."""
    np.savez(folder / "train.npz", X=inputs, y=labels)
    np.savez(folder / "test.npz", X=test_inputs, y=test_labels)
    settings = {
        "run.name": "run", "run.out": "out", "data.train": "train.npz", "data.test": "test.npz", "data.arrays": "X,y",
        "model.hidden": [16, 12], "topology.epsilon": 3, "train.epochs": 4, "train.batch_size": 20,
        "train.learning_rate": 0.02, "evolve.update_every": "3 step", "log.compare_dense": "none",
        **keys,
    }  # fmt: skip
    sections = {}
    for name, value in settings.items():
        section, key = name.split(".")
        text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
        sections.setdefault(section, []).append(f"{key} = {text}")
    path = folder / "run.toml"
    path.write_text("\n".join(f"[{name}]\n" + "\n".join(lines) for name, lines in sections.items()) + "\n")
    return path
