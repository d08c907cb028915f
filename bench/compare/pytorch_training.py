"""A training step of the Fashion-MNIST network, or of another one, in tulle and in PyTorch, side by side in one run.

Same network (the same budgets), batch 128, All-ReLU, dropout 0.3, momentum and decay, threads.
PyTorch runs in three ways: sparse CSR with its own autograd, sparse CSR with the best hand-written autograd function
(values as the parameter, sampled_addmm for the gradient on the pattern, a transposed copy for the way back), and dense.
Rounds alternate between the programs; the minimum of all counts.

    python pytorch_training.py BENCH_TRAINING [--sizes 784,1000,1000,1000,10] [--threads 2] [--rounds 3]
"""

import argparse
import json
import subprocess
import time

import torch

BATCH, EPSILON, ALPHA, DROPOUT = 128, 20, 0.6, 0.3


def random_pattern(n_out, n_in, generator):
    nnz = min(EPSILON * (n_in + n_out), n_in * n_out)
    keys = torch.randperm(n_in * n_out, generator=generator)[:nnz].sort().values
    rows, cols = keys // n_in, keys % n_in
    crow = torch.zeros(n_out + 1, dtype=torch.int64)
    crow[1:] = torch.bincount(rows, minlength=n_out).cumsum(0)
    return crow, rows, cols


class PatternMatmul(torch.autograd.Function):
    """Y = W X with W sparse; its gradient lives on the pattern only, and W^T is kept as a matrix of its own."""

    @staticmethod
    def forward(ctx, values, x, layer):
        ctx.layer = layer
        ctx.save_for_backward(values, x)
        weight = torch.sparse_csr_tensor(layer.crow, layer.cols, values, (layer.n_out, layer.n_in))
        return torch.sparse.mm(weight, x)

    @staticmethod
    def backward(ctx, grad):
        values, x = ctx.saved_tensors
        layer = ctx.layer
        zeros = torch.sparse_csr_tensor(layer.crow, layer.cols, torch.zeros_like(values), (layer.n_out, layer.n_in))
        dw = torch.sparse.sampled_addmm(zeros, grad, x.t(), beta=0.0).values()
        dx = None
        if ctx.needs_input_grad[1]:
            transposed = torch.sparse_csr_tensor(layer.t_crow, layer.t_cols, values[layer.t_order],
                                                 (layer.n_in, layer.n_out))
            dx = torch.sparse.mm(transposed, grad)
        return dw, dx, None


class SparseLayer:
    def __init__(self, n_in, n_out, generator, own_autograd):
        self.n_in, self.n_out, self.own_autograd = n_in, n_out, own_autograd
        self.crow, rows, self.cols = random_pattern(n_out, n_in, generator)
        self.t_order = torch.argsort(self.cols * n_out + rows)
        self.t_cols = rows[self.t_order]
        self.t_crow = torch.zeros(n_in + 1, dtype=torch.int64)
        self.t_crow[1:] = torch.bincount(self.cols, minlength=n_in).cumsum(0)
        values = (torch.rand(len(self.cols)) * 2 - 1) * (6 / n_in) ** 0.5
        self.bias = torch.zeros(n_out, 1, requires_grad=True)
        if own_autograd:
            self.weight = values.requires_grad_()
        else:
            self.weight = torch.sparse_csr_tensor(self.crow, self.cols, values, (n_out, n_in)).requires_grad_()

    def forward(self, x):
        product = PatternMatmul.apply(self.weight, x, self) if self.own_autograd else torch.sparse.mm(self.weight, x)
        return product + self.bias

    def raw(self):
        """The weight and its gradient as plain arrays that an optimiser can step."""
        if self.own_autograd:
            return self.weight, self.weight.grad
        return self.weight.values(), self.weight.grad.values()


class DenseLayer:
    def __init__(self, n_in, n_out):
        self.weight = ((torch.rand(n_out, n_in) * 2 - 1) * (6 / n_in) ** 0.5).requires_grad_()
        self.bias = torch.zeros(n_out, 1, requires_grad=True)

    def forward(self, x):
        return self.weight @ x + self.bias

    def raw(self):
        return self.weight, self.weight.grad


class Net:
    """Activations lie [feature][sample], which is PyTorch's fastest order for sparse and dense products alike."""

    def __init__(self, kind, sizes):
        generator = torch.Generator().manual_seed(1)
        self.layers = []
        for n_in, n_out in zip(sizes, sizes[1:]):
            full = EPSILON * (n_in + n_out) >= n_in * n_out
            self.layers.append(DenseLayer(n_in, n_out) if kind == "dense" or full
                               else SparseLayer(n_in, n_out, generator, kind == "csr, own autograd"))
        self.velocity = {}

    def step(self, x, y):
        for number, layer in enumerate(self.layers):
            x = layer.forward(x)
            if number + 1 < len(self.layers):
                slope = -ALPHA if number % 2 == 0 else ALPHA
                x = torch.nn.functional.dropout(torch.nn.functional.leaky_relu(x, slope), DROPOUT)
        torch.nn.functional.cross_entropy(x.t(), y).backward()
        with torch.no_grad():
            for layer in self.layers:
                for value, grad in (layer.raw(), (layer.bias, layer.bias.grad)):
                    v = self.velocity.setdefault(id(layer) * 2 + (value is layer.bias), torch.zeros_like(grad))
                    v.mul_(0.9).add_(grad, alpha=-0.01)
                    value.mul_(1 - 0.0002).add_(v)
                layer.weight.grad = None
                layer.bias.grad = None


def best_step(net, x, y, steps):
    best = float("inf")
    for number in range(steps + 3):
        start = time.perf_counter()
        net.step(x, y)
        if number >= 3:
            best = min(best, time.perf_counter() - start)
    return best * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench_training")
    parser.add_argument("--sizes", default="784,1000,1000,1000,10")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)

    sizes = [int(size) for size in options.sizes.split(",")]
    x, y = torch.randn(sizes[0], BATCH), torch.arange(BATCH) % sizes[-1]
    peers = {name: Net(name, sizes) for name in ("csr", "csr, own autograd", "dense")}
    best = dict.fromkeys(peers, float("inf"))
    ours = []
    for _ in range(options.rounds):
        command = [options.bench_training, "--json", "--sizes", options.sizes, "--threads", str(options.threads)]
        ours.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        for name, net in peers.items():
            best[name] = min(best[name], best_step(net, x, y, 30))
    step = min(run["step_ms"] for run in ours)
    print(f"\nPyTorch {torch.__version__} beside tulle, {options.threads} threads, minimum of {options.rounds} rounds")
    print(f"{'':<36} {'ms/step':>9} {'ratio':>8}")
    print(f"{'tulle, sparse':<36} {step:>9.3f} {'1.0':>8}")
    dense = min(run["dense_step_ms"] for run in ours)
    print(f"{'tulle, dense (' + ours[0]['dense_library'] + ')':<36} {dense:>9.3f} {dense / step:>8.1f}")
    for name, milliseconds in best.items():
        print(f"{'PyTorch, ' + name:<36} {milliseconds:>9.3f} {milliseconds / step:>8.1f}")
    fastest = min(best["csr"], best["csr, own autograd"])
    print(f"\nfastest PyTorch sparse CSR / tulle = {fastest / step:.1f}   (wanted: at least 5)")
    print(f"topology event = {min(r['evolve_steps'] for r in ours):.1f} training steps   (wanted: at most 20)")
    print(f"memory beyond the data = {max(r['training_mb'] for r in ours):.1f} MB   (wanted: at most 32)")


if __name__ == "__main__":
    main()
