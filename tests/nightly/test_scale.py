"""Networks of millions of neurons: memory as planned, stopped and resumed with the same bits, a disk that fills up.

TULLE_SCALE_NEURONS: neurons of a hidden layer, of which there are ten; 1,000,000 unless it says otherwise.
TULLE_BENCH_SCALE: bench_scale; the one beside tulle unless it says otherwise.
"""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import BINARY, assert_a_full_disk_leaves_the_last_checkpoint

WIDTH = int(os.environ.get("TULLE_SCALE_NEURONS", 1_000_000))
NET = [
    f"--hidden={','.join([str(WIDTH)] * 10)}",
    *("--format=synthetic", "--scale=none", "--epsilon=1", "--batch-size=16", "--epochs=2", "--learning-rate=1e-5"),
    *("--set", "synthetic.samples=64", "--set", "synthetic.test_samples=16"),
    *("--report=false", "--compare-dense=none", "--out=out", "--progress=line"),
]
HOURS = 3600
BENCH = Path(os.environ.get("TULLE_BENCH_SCALE", Path(BINARY).parent / "bench_scale"))


def available_bytes():
    kilobytes = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text()).group(1)
    return int(kilobytes) * 1024


def bench(*arguments):
    if not BENCH.is_file():
        pytest.skip(f"needs {BENCH}")
    done = subprocess.run([BENCH, "--json", *arguments], capture_output=True, text=True, timeout=HOURS, check=True)
    return json.loads(done.stdout)


def within(gib, planned):
    return gib <= 1.05 * planned + 64 / 1024


@pytest.mark.parametrize("numbering", ["drawn", "by-source"])
def test_the_start_of_two_layers_of_5_million_neurons_takes_the_memory_of_the_plan(numbering):
    if available_bytes() < 3 << 30:
        pytest.skip("needs 3 GiB of memory")
    found = bench("--hidden=5000000,5000000", "--epsilon=1", "--batch=16", "--steps=0", f"--numbering={numbering}")
    assert within(found["init_gib"], found["plan_gib"]) and within(found["training_gib"], found["plan_gib"])


def test_50_million_neurons_take_3_steps_and_an_event_within_6_gib_and_the_plan():
    if available_bytes() < 8 << 30:
        pytest.skip("needs 8 GiB of memory")
    layers = ",".join(["5000000"] * 10)
    found = bench(f"--hidden={layers}", "--epsilon=1", "--batch=16", "--steps=2", "--events=1")
    assert found["neurons"] == 50_000_002
    assert found["event_gib"] <= 6.0 and within(found["event_gib"], found["plan_gib"])
    assert 0.0 < found["loss"] < 10.0  # NaN is not


def train(tulle, *arguments, **options):
    command = tulle.command("train", *NET, *arguments)
    return subprocess.run(command, cwd=tulle.folder, capture_output=True, text=True, timeout=HOURS, **options)


def test_a_stopped_and_resumed_training_of_millions_of_neurons_ends_with_the_same_bits(tulle):
    training = tulle.start("train", *NET, "--name=run", "--save-every=never")
    for line in training.stderr:
        if re.match(r"epoch +\d", line):
            break
    training.send_signal(signal.SIGTERM)
    training.communicate(timeout=HOURS)
    assert training.returncode == 143, "the signal came after the end"
    resumed = subprocess.run(
        tulle.command("train", "--resume=out/run"), cwd=tulle.folder, capture_output=True, text=True, timeout=HOURS
    )
    assert resumed.returncode == 0, resumed.stderr
    assert train(tulle, "--name=straight", "--save-every=never").returncode == 0
    models = [tulle.folder / "out" / name / "model.safetensors" for name in ("run", "straight")]
    assert subprocess.run(["cmp", *models]).returncode == 0


def test_a_disk_that_fills_up_under_a_checkpoint_of_2_gb_leaves_the_one_before_it(tulle):
    if available_bytes() < 12 << 30:
        pytest.skip("needs 12 GiB of memory, 3 of them for the disk")
    assert_a_full_disk_leaves_the_last_checkpoint(
        tulle,
        *("--hidden=2000000,2000000", "--format=synthetic", "--scale=none", "--rule=none", "--batch-size=16"),
        *("--set", "topology.distribution=fixed-fan-in", "--set", "topology.fan_in=42"),
        *("--set", "synthetic.samples=16", "--set", "synthetic.test_samples=16"),
        *("--epochs=100", "--learning-rate=1e-5", "--report=false", "--compare-dense=none"),
        timeout=HOURS,
    )
