"""sMLPNets beside the same network in PyTorch, live: checkpoints go there and back and give the same logits."""

import subprocess
import sys

import numpy as np
import pytest

from conftest import REPOSITORY, package

SIZES = {  # channels, height, width, patch, embedding, depths, classes
    "published-224": (3, 224, 224, 4, 80, [2, 8, 14, 2], 1000),
    "published-256x192": (3, 256, 192, 4, 80, [2, 8, 14, 2], 1000),
    "odd-side": (1, 28, 28, 4, 16, [1, 1], 10),
}


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    package("safetensors")
    torch.manual_seed(1)
    return torch


@pytest.fixture
def make(torch, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests/oracle"))
    from smlpnet_torch import SmlpNet

    def make(size):
        """A network whose norms and statistics hide nothing."""
        net = SmlpNet(*size).eval()
        for name, value in net.state_dict().items():
            if name.endswith("running_mean"):
                value.uniform_(-0.2, 0.2)
            elif name.endswith("running_var"):
                value.uniform_(0.8, 1.2)
        return net

    return make


def convert(*words):
    return subprocess.run([sys.executable, "-m", "tulle.convert", *map(str, words)], capture_output=True, text=True)


def logs(tulle, torch, folder, images, *flags):
    """The logarithms of what tulle predicts."""
    np.save(folder / "x.npy", images.numpy())
    shown = tulle("predict", "m.safetensors", "--data=x.npy", "--label-column=none", *flags, check=True).out
    rows = [row.split(",") for row in shown.splitlines()[1:]]
    return torch.tensor([[float(value) for value in row[1:]] for row in rows]).log()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_checkpoint_of_pytorch_gives_the_same_logits_here(size, torch, make, tulle, tmp_path):
    net = make(size)
    torch.save({"epoch": 3, "model": {"module." + name: value for name, value in net.state_dict().items()}}, tmp_path / "net.pth")
    done = convert(tmp_path / "net.pth", tmp_path / "net.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    tulle("import", "net.safetensors", "--sparsify=magnitude:0", "-o", "m.safetensors", check=True)
    images = torch.randn(2, *size[:3])
    with torch.no_grad():
        logits = net(images)
    wanted = logits.log_softmax(-1)
    largest = logits.abs().max().item()
    assert torch.allclose(logs(tulle, torch, tmp_path, images), wanted, rtol=0, atol=1e-4 * largest)
    bf16 = logs(tulle, torch, tmp_path, images, "--dtype=bf16")
    assert torch.allclose(bf16, wanted, rtol=0, atol=3e-2 * largest)


def test_a_model_of_tulle_gives_the_same_logits_in_pytorch(torch, make, tulle, tmp_path):
    from safetensors.torch import load_file

    size = SIZES["odd-side"]
    random = np.random.default_rng(1)
    header = b"\x00\x00\x08\x03" + b"".join(int(n).to_bytes(4, "big") for n in (60, 28, 28))
    (tmp_path / "x-ubyte").write_bytes(header + random.integers(0, 256, 60 * 784, np.uint8).tobytes())
    (tmp_path / "y-ubyte").write_bytes(b"\x00\x00\x08\x01" + (60).to_bytes(4, "big") + bytes(i % 10 for i in range(60)))
    flags = {"kind": "smlp", "patch": 4, "width": 16, "depths": "1,1", "epochs": 2, "batch-size": 20, "loss": "cross-entropy"}
    tulle(
        "train", "--preset=smlp", "--train=x-ubyte", "--train-labels=y-ubyte", "--scale=unit", "--compare-dense=none",
        *(f"--{name}={value}" for name, value in flags.items()), check=True,
    )
    file = tmp_path / "out/run/model.safetensors"
    (tmp_path / "m.safetensors").write_bytes(file.read_bytes())
    net = make(size)
    net.load_state_dict({name: value for name, value in load_file(file).items() if not name.startswith(("data.", "tulle."))})
    images = torch.from_numpy(random.integers(0, 256, (5, 1, 28, 28)).astype(np.float32))
    with torch.no_grad():
        logits = net(images / 255)
    found = logs(tulle, torch, tmp_path, images)
    assert torch.allclose(found, logits.log_softmax(-1), rtol=0, atol=1e-4 * logits.abs().max().item())


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda torch: torch.zeros(3), "found a Tensor, expected names with tensors"),
        (lambda torch: {"epoch": 3}, "found ['epoch'], expected names with tensors"),
    ],
)
def test_what_holds_no_state_dict_is_refused_in_one_line(content, words, torch, tmp_path):
    torch.save(content(torch), tmp_path / "net.pth")
    done = convert(tmp_path / "net.pth", tmp_path / "net.safetensors")
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("net.safetensors*"))
