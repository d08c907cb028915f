#!/usr/bin/env python3
"""Writes what PyTorch computes for three tiny sMLPNets: weights, images, logits, gradients, running statistics, a training.

Usage: freeze.py [FOLDER]   (needs torch and safetensors; tests read the files and need neither)
The loss whose gradients are kept is the sum of logits times `coefficients`, in training mode. `adamw.losses` are those before each
of five steps of AdamW from the same start, cross-entropy with classes 0, 1, 2; matrices decay, vectors do not.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file

from smlpnet_torch import SmlpNet

CASES = {  # channels, height, width, patch, embedding, depths, classes
    "square": (1, 32, 32, 4, 16, [1, 1], 10),
    "odd_side": (1, 28, 28, 4, 16, [1, 1], 10),
    "not_square": (3, 32, 48, 4, 8, [1, 2, 1], 7),
}


def train(model, start, images):
    model.load_state_dict(start)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 1.0}, {"params": vectors, "weight_decay": 0.0}], lr=1e-3)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(images), torch.arange(3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for name, case in CASES.items():
        torch.manual_seed(len(name))
        channels, height, width = case[:3]
        model = SmlpNet(*case)
        for key, value in model.state_dict().items():  # norms and statistics that hide nothing
            if key.endswith(("running_mean", ".bias")) and value.dim() == 1:
                value.uniform_(-0.5, 0.5)
            elif key.endswith(("running_var", "BN.weight", "batch_norm.weight")) or ".1.weight" in key and value.dim() == 1:
                value.uniform_(0.5, 1.5)
        images = torch.randn(3, channels, height, width)
        coefficients = torch.randn(3, case[-1])
        kept = {key: value.clone() for key, value in model.state_dict().items()}
        kept["images"], kept["coefficients"] = images, coefficients
        kept["eval.logits"] = model.eval()(images).detach()
        logits = model.train()(images)
        (logits * coefficients).sum().backward()
        kept["train.logits"] = logits.detach()
        for key, value in model.named_parameters():
            kept[f"gradient.{key}"] = value.grad
        for key, value in model.state_dict().items():
            if "running" in key:
                kept[f"after.{key}"] = value.clone()
        kept["adamw.losses"] = train(model, {key: kept[key] for key in model.state_dict()}, images)
        save_file({key: value.contiguous() for key, value in kept.items()}, folder / f"smlpnet_{name}.safetensors")


if __name__ == "__main__":
    main()
