"""What the tests of the command line share: the program, small data, and the form of a refusal.

TULLE_BINARY names the program (default: the release build), TULLE_DATA the folder of real data sets.
"""

import gzip
import importlib
import json
import os
import shutil
import signal
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
BINARY = Path(os.environ.get("TULLE_BINARY", REPOSITORY / "build" / "release" / "tulle"))
DATA = Path(os.environ.get("TULLE_DATA", REPOSITORY.parent / "shared" / "data"))


def pytest_sessionstart(session):
    if not BINARY.is_file():
        pytest.exit(f"{BINARY}: no program to test; build it or set TULLE_BINARY", returncode=1)


@dataclass
class Result:
    code: int
    out: str
    err: str


class Tulle:
    """Runs the program in one folder."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def command(self, *arguments):
        return [str(BINARY), *map(str, arguments)]

    def __call__(self, *arguments, stdin=None, check=False, **options):
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=120,
            **options,
        )
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert not check or result.code == 0, result.err
        return result

    def start(self, *arguments, **options):
        """A process that goes on; its standard error can be read line by line."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )


@pytest.fixture
def tulle(tmp_path):
    return Tulle(tmp_path)


@pytest.fixture
def data():
    """The folder of real data sets."""
    if not DATA.is_dir():
        reason = f"{DATA}: no data sets; set TULLE_DATA"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return DATA


def package(name):
    """A Python package that not every machine has."""
    return importlib.import_module(name) if os.environ.get("CI") == "true" else pytest.importorskip(name)


def blobs(rows, seed, features=6, classes=3):
    """Gaussian blobs, one per class: (inputs, labels). The centres are the same for every seed."""
    centres = np.random.default_rng(0).normal(0, 2, (classes, features))
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, rows)
    return centres[labels] + random.normal(0, 1, (rows, features)), labels


def csv_text(inputs, labels=None):
    rows = []
    for i, row in enumerate(inputs):
        fields = [f"{value:.6g}" for value in row]
        rows.append(",".join(fields + ([] if labels is None else [str(labels[i])])))
    return "\n".join(rows) + "\n"


def idx_bytes(array):
    """IDX of unsigned bytes, as MNIST has it."""
    array = np.asarray(array, dtype=np.uint8)
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


CONFIG = {
    "run": {"name": "run", "threads": 1},
    "data": {"train": "train.csv", "test": "test.csv"},
    "model": {"hidden": [16, 12], "dropout": 0.1},
    "topology": {"epsilon": 3},
    "train": {"epochs": 4, "batch_size": 20, "learning_rate": 0.02},
    "evolve": {"update_every": "3 step"},
    "checkpoint": {"save_every": "1 epoch"},
    "log": {"compare_dense": "none"},
}


def config_text(**changes):
    """CONFIG as TOML; changes are section__key=value."""
    config = {section: dict(keys) for section, keys in CONFIG.items()}
    for name, value in changes.items():
        section, key = name.split("__")
        config.setdefault(section, {})[key] = value
    lines = []
    for section, keys in config.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def write_problem(folder, **changes):
    """train.csv, test.csv and config.toml of a problem that is learnt in a moment."""
    folder = Path(folder)
    (folder / "train.csv").write_text(csv_text(*blobs(200, seed=1)))
    (folder / "test.csv").write_text(csv_text(*blobs(60, seed=2)))
    (folder / "config.toml").write_text(config_text(**changes))


@pytest.fixture
def problem(tmp_path):
    write_problem(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_problem(folder)
    Tulle(folder)("train", "config.toml", check=True)
    return folder


@pytest.fixture
def trained(trained_once, tmp_path):
    """A problem with the finished training out/run; every test has its own copy."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "out" / "run" / "config.toml"
    config.write_text(config.read_text().replace(str(trained_once), str(tmp_path)))
    return tmp_path


def checkpoints(run):
    """Newest first."""
    return sorted(Path(run).glob("ckpt-*.safetensors"), reverse=True)


def temporaries(folder):
    return list(Path(folder).rglob(".tmp-*"))


def assert_a_full_disk_leaves_the_last_checkpoint(tulle, *training, timeout=120):
    """Trains on a file system that shrinks, once a checkpoint is there, to half of what the next one needs."""
    if os.geteuid() != 0:
        pytest.skip("mounts a file system, which only root may")
    out, run = tulle.folder / "out", tulle.folder / "out" / "run"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tulle-test", out], capture_output=True).returncode != 0:
        pytest.skip("this system does not let root mount a tmpfs")
    process = tulle.start("train", *training, "--out=out", "--name=run", "--save-every=1 epoch")
    try:
        while not checkpoints(run) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)
        size = checkpoints(run)[-1].stat().st_size
        room = shutil.disk_usage(out).used + size // 2
        subprocess.run(["mount", "-o", f"remount,size={room}", out], check=True)
        process.send_signal(signal.SIGCONT)
        error = process.communicate(timeout=timeout)[1]
        lines = [line for line in error.splitlines() if line.startswith("tulle: ")]
        assert process.returncode == 73, error
        assert len(lines) == 1 and "No space left" in lines[0] and str(run.relative_to(tulle.folder)) in lines[0], error
        assert temporaries(tulle.folder) == []
        last = checkpoints(run)[0]
        assert last.stat().st_size == size
        subprocess.run(tulle.command("inspect", last), capture_output=True, timeout=timeout, check=True)
    finally:
        process.kill()
        process.communicate()
        subprocess.run(["umount", out], check=True)


def contents(folder):
    """Every file below a folder, with its bytes (pipes and links without)."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def assert_refused(result, code, *words):
    """One line that names the trouble, nothing else."""
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("tulle: ")
    assert "internal error" not in lines[0]
    assert result.code == code, lines[0]
    assert result.out == ""
    for word in words:
        assert word in lines[0]


def read_safetensors(path):
    """(metadata, tensors); written here so that the oracle needs no other library."""
    content = Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    types = {"F32": "<f4", "I32": "<i4", "I64": "<i8", "U8": "u1", "U16": "<u2"}
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[begin:end], dtype=types[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    return metadata, tensors


def write_safetensors(path, metadata, tensors):
    names = {"float32": "F32", "int32": "I32", "int64": "I64", "uint8": "U8", "uint16": "U16"}
    header, body = {"__metadata__": metadata}, b""
    for name, values in tensors.items():
        offsets = [len(body), len(body) + values.nbytes]
        dtype = names[values.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        body += values.tobytes()
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + body)


def masked_network(sizes, density, seed=3):
    """[(weight, bias)] of a network whose hidden layers have a share of their weights; their first neuron has none."""
    random = np.random.default_rng(seed)
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        weight = random.normal(0, 0.5, (outputs, inputs)).astype(np.float32)
        if len(layers) + 2 < len(sizes):
            weight *= random.random(weight.shape) < density
            weight[0] = 0
        layers.append((weight, random.normal(0, 0.5, outputs).astype(np.float32)))
    return layers


def write_network(path, layers):
    """The state dict of a network, as safetensors."""
    tensors = {f"{i}.{kind}": array for i, pair in enumerate(layers) for kind, array in zip(("weight", "bias"), pair)}
    write_safetensors(path, {}, tensors)


def gzip_bytes(content):
    return gzip.compress(content, mtime=0)
