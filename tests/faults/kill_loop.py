"""Kills a training that saves after every step, at random moments, and goes on with it each time.

After every kill: the newest checkpoint loads and is not older than the last one reported complete, at most one
temporary file is left, and the next start goes on from that checkpoint and removes the temporary. A training that was
killed many times ends with the same model, byte for byte, as one that was left alone.

    python3 tests/faults/kill_loop.py --binary build/release/tulle --kills 200 --seed 1
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """
[run]
threads = 1
[data]
train = "train.csv"
[model]
hidden = [24, 16]
[topology]
epsilon = 4
[train]
epochs = 30
batch_size = 20
[evolve]
update_every = "7 step"
[checkpoint]
save_every = "1 step"
keep = 2
[log]
compare_dense = "none"
"""


def make_problem(folder):
    numbers = random.Random(0)
    rows = []
    for row in range(200):
        label = row % 4
        rows.append(",".join(f"{numbers.gauss(label * (i % 3), 1):.4f}" for i in range(8)) + f",{label}")
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
    (folder / "config.toml").write_text(CONFIG)


class Loop:
    def __init__(self, binary, folder, seed):
        self.binary, self.folder, self.random = str(Path(binary).resolve()), folder, random.Random(seed)
        self.errors = folder / "stderr"
        self.kills = self.finished = self.resumed = 0

    def run(self, name, delay=None):
        """Trains on; killed after `delay` seconds. Whether the training came to its end."""
        command = [self.binary, "train", "config.toml", f"--name={name}", "--resume=auto", "-v"]
        with open(self.errors, "w") as errors:
            training = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=errors)
            try:
                code = training.wait(delay)
            except subprocess.TimeoutExpired:
                training.kill()
                code = training.wait()
        require(code in (0, -9), f"exit code {code}: {self.errors.read_text()}")
        return code == 0

    def inspect(self, path):
        done = subprocess.run([self.binary, "inspect", path, "--json"], capture_output=True, text=True)
        require(done.returncode == 0, f"{path.name} does not load: {done.stderr}")
        return json.loads(done.stdout)

    def check(self, run, complete):
        """What a killed training left; the step of its newest checkpoint."""
        text = self.errors.read_text()
        started = re.search(r"^resume  after epoch \d+, step (\d+)$", text, re.MULTILINE)
        if started:
            self.resumed += 1
            require(int(started[1]) >= complete, f"resumed from step {started[1]}, not from {complete}")
        elif complete > 0:
            require("saved" not in text, "a training with checkpoints started anew")
        for step in re.findall(r"^saved   .*ckpt-(\d+)\.safetensors \(.*\)$", text, re.MULTILINE):
            complete = max(complete, int(step))
        temporaries = list(run.glob(".tmp-*"))
        require(len(temporaries) <= 1, f"temporaries: {temporaries}")
        checkpoints = sorted(run.glob("ckpt-*.safetensors"), reverse=True)
        require(complete == 0 or checkpoints, f"step {complete} was complete, and there is no checkpoint")
        newest = 0
        for path in checkpoints:
            step = self.inspect(path)["step"]
            require(path.name == f"ckpt-{step:06d}.safetensors", f"{path.name} holds step {step}")
            newest = max(newest, step)
        require(newest >= complete, f"step {complete} was complete, the newest checkpoint is {newest}")
        return newest

    def train_killed(self, name, kills_left):
        """One training to its end, killed as often as it takes, and not more than `kills_left` times."""
        run, complete, kills = self.folder / "out" / name, 0, 0
        # Long enough to start and save some steps, short enough to hit the start as well.
        while kills < kills_left and not self.run(name, self.random.uniform(0.0, self.span)):
            kills += 1
            complete = self.check(run, complete)
        if not (run / "model.safetensors").exists() or kills == kills_left:
            require(self.run(name), "the last start was not left alone")
        require(not list(run.glob(".tmp-*")), "a temporary outlived the next start")
        self.kills += kills
        self.finished += 1

    def measure(self):
        start = time.monotonic()
        require(self.run("straight"), "the undisturbed training was killed")
        trained = time.monotonic()
        require(self.run("straight"), "the training at its end was killed")
        startup = time.monotonic() - trained
        self.span = 2 * startup + (trained - start) / 8


def require(condition, complaint):
    if not condition:
        raise SystemExit(f"kill loop: {complaint}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_problem(folder)
        loop = Loop(options.binary, folder, options.seed)
        loop.measure()
        expected = (folder / "out/straight/model.safetensors").read_bytes()
        while loop.kills < options.kills:
            run = f"killed-{loop.finished}"
            loop.train_killed(run, options.kills - loop.kills)
            model = (folder / "out" / run / "model.safetensors").read_bytes()
            require(model == expected, f"{run} ended with another model than the undisturbed training")
        require(loop.resumed > options.kills // 4, f"too few kills hit a resumed training: {loop.resumed} of {loop.kills}")
        seconds = time.monotonic() - start
        print(
            f"{loop.kills} kills, {loop.resumed} of resumed trainings, {loop.finished} trainings to the end,"
            f" 0 checkpoints lost, {seconds:.1f} s"
        )


if __name__ == "__main__":
    sys.exit(main())
