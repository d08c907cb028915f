"""What the recipes reach on real data, as gates: too slow for every change. `./run nightly` runs them.

One epoch of the published recipe is a gate of the ordinary tests (tulle/train/real_data_test.cpp). Preset and
seeds are those of docs/results.md, which has the figures and the spread between seeds.
"""

import json
import os
import statistics
import subprocess
from pathlib import Path

import pytest

from conftest import BINARY, DATA

FASHION = Path(os.environ.get("TULLE_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
SEEDS = (1, 2, 3)


def accuracies(folder, seed, **flags):
    """Test accuracy in per cent after each epoch."""
    command = [BINARY, "train", f"--out={folder}", f"--name=seed-{seed}", f"--seed={seed}", "--quiet"]
    command += ["--save-every=never", "--report=false", "--compare-dense=none"]
    command += [f"--{key.replace('_', '-')}={value}" for key, value in flags.items()]
    subprocess.run(list(map(str, command)), check=True, timeout=3600)
    lines = map(json.loads, (Path(folder) / f"seed-{seed}" / "metrics.jsonl").read_text().splitlines())
    return [100 * line["test_acc"] for line in lines if line["event"] == "epoch"]


def means(of_seeds):
    return [statistics.mean(column) for column in zip(*of_seeds)]


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    if not FASHION.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    folder = tmp_path_factory.mktemp("fashion")

    def of_preset(preset):
        return means(
            accuracies(folder / preset, seed, format="fashion-mnist", preset=preset, epochs=5) for seed in SEEDS
        )

    return {preset: of_preset(preset) for preset in ("published", "modern")}


def test_the_published_recipe_reaches_the_published_accuracies_epoch_by_epoch(fashion):
    # The published figures are those of one seed: 58.3, 72.9, 77.8, 80.4, 81.6. After the first epoch seeds differ
    # by a standard deviation of 2.3 points around 61.3 (24 seeds), so that a mean of three lies within 4 of that;
    # the published seed, low there, is still 2.0 behind after the second.
    for epoch, (wanted, allowed) in enumerate(((61.3, 4.0), (72.9, 2.5), (77.8, 2.0), (80.4, 2.0), (81.6, 2.0))):
        assert abs(fashion["published"][epoch] - wanted) <= allowed, f"epoch {epoch + 1}"


def test_the_modern_recipe_is_three_points_ahead_after_five_epochs(fashion):
    assert fashion["modern"][-1] - fashion["published"][-1] >= 3.0


def test_madelon_reaches_the_published_recipes_best_of_eighty_epochs(tmp_path):
    folder = DATA / "madelon"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    best = [
        max(
            accuracies(
                tmp_path,
                seed,
                format="csv",
                sep="blank",
                label_column="none",
                train=folder / "madelon_train.data",
                train_labels=folder / "madelon_train.labels",
                test=folder / "madelon_valid.data",
                test_labels=folder / "madelon_valid.labels",
                preset="published",
                hidden="400,100,400",
                alpha=0.5,
                epsilon=10,
                weight_init="normal",
                batch_size=32,
                epochs=80,
            )
        )
        for seed in SEEDS
    ]
    assert statistics.mean(best) >= 62.0, best
