#!/usr/bin/env python3
"""Writes what PyTorch's optimizers make of fixed gradients, in doubles: the header tulle/optim/pytorch_sequences.h.

Usage: freeze_optimizers.py [HEADER]   (needs torch; the test that includes the header does not)
"""

import pathlib
import sys

import torch

RATE, START = 0.05, 0.8
GRADIENTS = [0.5, -1.25, 2.0, 0.0, -0.375, 0.75]
CASES = [  # tulle's name, its options, PyTorch's optimizer
    ("sgd", ".momentum = 0.9, .weight_decay = 0.01", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", ".momentum = 0.9, .nesterov = true, .weight_decay = 0.01", torch.optim.SGD,
     {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("sgd", ".momentum = 0.0", torch.optim.SGD, {}),
    ("adam", ".weight_decay = 0.01", torch.optim.Adam, {"weight_decay": 0.01}),
    ("adam", ".beta1 = 0.8, .beta2 = 0.95", torch.optim.Adam, {"betas": (0.8, 0.95)}),
    ("adamw", ".weight_decay = 0.01", torch.optim.AdamW, {"weight_decay": 0.01}),
]


def values(make, options):
    weight = torch.tensor([START], dtype=torch.float64, requires_grad=True)
    optimizer = make([weight], lr=RATE, **options)
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        yield weight.item()


def main():
    default = pathlib.Path(__file__).parents[2] / "tulle/optim/pytorch_sequences.h"
    rows = "".join(
        f'    {{"{name}", {{{options}}}, {{{", ".join(map(repr, values(make, theirs)))}}}}},\n' for name, options, make, theirs in CASES
    )
    pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else default).write_text(f"""#pragma once

// For tests only: one weight after each of six steps of PyTorch {torch.__version__.split("+")[0]}. Written by
// tests/oracle/freeze_optimizers.py.

#include <string_view>
#include <vector>

#include "tulle/optim/optimizer.h"

namespace tulle::reference {{

struct Recorded {{
  std::string_view name;
  OptimizerOptions options;
  std::vector<double> values;
}};

inline constexpr float kRecordedRate = {RATE}f, kRecordedStart = {START}f;
inline const std::vector<float> kRecordedGradients{{{", ".join(f"{g}f" for g in GRADIENTS)}}};
// clang-format off
inline const std::vector<Recorded> kRecorded{{
{rows}}};
// clang-format on

}}  // namespace tulle::reference
""")


if __name__ == "__main__":
    main()
