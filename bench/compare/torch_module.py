"""A training step of one sparse layer: tulle.torch.SparseLinear beside what PyTorch itself offers.

Same pattern, values, batch and threads; a step is forward and backward with gradients of values, bias and input. PyTorch
gets its inputs as [feature][sample], its fastest order, and int32 indices wherever it takes them:
    csr            torch.sparse.mm with a sparse CSR weight that requires a gradient
    csr tensor     values as the parameter, torch.sparse_csr_tensor under autograd
    csr by hand    an autograd function of our own: sampled_addmm on the pattern, a transposed copy for the way back
    dense          torch.nn.functional.linear, every connection
Rounds alternate between the programs; the minimum of all counts. Results are compared first.

    PYTHONPATH=build/release/python python bench/compare/torch_module.py [--threads 2] [--rounds 5]
"""

import argparse
import time
import warnings

import torch
from tulle.torch import SparseLinear

warnings.filterwarnings("ignore", message="Sparse")


class PatternMatmul(torch.autograd.Function):
    """Y = W X by PyTorch's sparse products alone; W^T is kept as a pattern of its own."""

    @staticmethod
    def forward(ctx, values, x, peer):
        ctx.peer = peer
        ctx.save_for_backward(values, x)
        return torch.sparse.mm(csr(peer.crow32, peer.col32, values, peer.shape), x)

    @staticmethod
    def backward(ctx, g):
        values, x = ctx.saved_tensors
        peer = ctx.peer
        pattern = csr(peer.crow, peer.col, torch.zeros_like(values), peer.shape)
        dvalues = torch.sparse.sampled_addmm(pattern, g, x.t(), beta=0.0).values()
        transposed = csr(peer.t_crow32, peer.t_col32, values[peer.t_order], peer.shape[::-1])
        return dvalues, torch.sparse.mm(transposed, g), None


def csr(crow, col, values, shape):
    return torch.sparse_csr_tensor(crow, col, values, shape, check_invariants=False)


class Peer:
    """One layer of PyTorch's, with the pattern and values of ours."""

    def __init__(self, kind, layer, x, g):
        self.kind, self.shape = kind, (layer.out_features, layer.in_features)
        self.crow, self.col = layer.crow, layer.col.long()
        self.crow32, self.col32 = layer.crow.int(), layer.col
        rows = torch.arange(self.shape[0]).repeat_interleave(self.crow.diff())
        self.t_order = torch.argsort(self.col * self.shape[0] + rows)
        self.t_col32 = rows[self.t_order].int()
        self.t_crow32 = torch.cat([torch.zeros(1), torch.bincount(self.col, minlength=self.shape[1]).cumsum(0)]).int()
        values = layer.values.detach().clone()
        if kind == "dense":
            self.weight = layer.to_sparse_csr().detach().to_dense().requires_grad_()
        elif kind == "csr":
            self.weight = csr(self.crow32, self.col32, values, self.shape).requires_grad_()
        else:
            self.weight = values.requires_grad_()
        self.bias = layer.bias.detach().clone().requires_grad_()
        turn = (lambda t: t) if kind == "dense" else (lambda t: t.t().contiguous())
        self.x, self.g = turn(x.detach()).requires_grad_(), turn(g)

    def step(self):
        self.weight.grad = self.bias.grad = self.x.grad = None
        if self.kind == "dense":
            y = torch.nn.functional.linear(self.x, self.weight, self.bias)
        elif self.kind == "csr":
            y = torch.sparse.mm(self.weight, self.x) + self.bias[:, None]
        elif self.kind == "csr tensor":
            y = torch.sparse.mm(csr(self.crow32, self.col32, self.weight, self.shape), self.x) + self.bias[:, None]
        else:
            y = PatternMatmul.apply(self.weight, self.x, self) + self.bias[:, None]
        y.backward(self.g)

    def gradients(self):
        if self.kind == "dense":
            rows = torch.arange(self.shape[0]).repeat_interleave(self.crow.diff())
            return self.weight.grad[rows, self.col], self.x.grad
        return self.weight.grad.values() if self.kind == "csr" else self.weight.grad, self.x.grad.t()


class Ours:
    def __init__(self, layer, x, g):
        self.layer, self.x, self.g = layer, x.detach().requires_grad_(), g

    def step(self):
        self.layer.values.grad = self.layer.bias.grad = self.x.grad = None
        self.layer(self.x).backward(self.g)

    def gradients(self):
        return self.layer.values.grad, self.x.grad


def seconds_per_step(peer, steps):
    best = float("inf")
    for _ in range(steps):
        start = time.perf_counter()
        peer.step()
        best = min(best, time.perf_counter() - start)
    return best


def compare(n, density, batch, rounds):
    torch.manual_seed(1)
    layer = SparseLinear(n, n, density=density, seed=1)
    x, g = torch.randn(batch, n), torch.randn(batch, n)
    peers = {"tulle": Ours(layer, x, g)}
    peers.update((kind, Peer(kind, layer, x, g)) for kind in ("csr", "csr tensor", "csr by hand", "dense"))
    steps = max(4, 20_000 // n)
    best = {}
    for name in list(peers):
        try:
            peers[name].step()
        except RuntimeError as error:
            print(f"  {name}: refused by PyTorch: {str(error).splitlines()[0]}")
            del peers[name]
            continue
        for found, expected in zip(peers[name].gradients(), peers["tulle"].gradients()):
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max(), name
    for _ in range(rounds):
        for name, peer in peers.items():
            best[name] = min(best.get(name, float("inf")), seconds_per_step(peer, steps))
    print(f"{n} x {n}, {100 * density:g} % ({layer.nnz} connections), batch {batch}")
    for name, seconds in best.items():
        print(f"  {name:<12} {seconds * 1e3:>9.3f} ms  {seconds / best['tulle']:>6.1f} x")
    rival = min(best[name] for name in ("csr", "csr tensor") if name in best)
    print(f"  torch.sparse.mm under autograd / tulle = {rival / best['tulle']:.1f}   (wanted: at least 3, goal 6)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--density", type=float, default=0.05)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__}, {options.threads} threads, minimum of {options.rounds} rounds")
    for n in options.sizes:
        compare(n, options.density, options.batch, options.rounds)


if __name__ == "__main__":
    main()
