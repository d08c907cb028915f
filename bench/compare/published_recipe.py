"""The recipe of arXiv 2102.01732 on Fashion-MNIST, in plain NumPy and SciPy.

Written from the paper's formulas, independent of the engine, to tell what accuracy the preset `published` should reach:
Erdos-Renyi links drawn cell by cell, He-uniform start values by the dense fan-in, All-ReLU with slope 0.6, dropout 0.3,
momentum 0.9 with a decay of 0.0002 that is not multiplied by the learning rate of 0.01, batches of 128 with the rest
dropped, and after each epoch but the last the signed SET event. Test accuracy is measured before the event.

    python published_recipe.py [--seeds 1..3] [--epochs 5] [--data FOLDER]
"""

import argparse
import gzip
import pathlib

import numpy as np
from scipy import sparse

SIZES = [784, 1000, 1000, 1000, 10]
EPSILON, ALPHA, DROPOUT, BATCH = 20, 0.6, 0.3, 128
RATE, MOMENTUM, DECAY, ZETA = 0.01, 0.9, 0.0002, 0.3


def read_idx(path):
    raw = gzip.open(path).read()
    dims = raw[3]
    shape = np.frombuffer(raw, ">u4", dims, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(shape)


def load(folder):
    parts = []
    for name in ("train", "t10k"):
        images = read_idx(folder / f"{name}-images-idx3-ubyte.gz").reshape(-1, 784).astype(np.float64)
        parts += [images, read_idx(folder / f"{name}-labels-idx1-ubyte.gz")]
    mean, std = parts[0].mean(0), parts[0].std(0)
    std[std == 0] = 1
    return (parts[0] - mean) / std, parts[1], (parts[2] - mean) / std, parts[3]


def slope(layer):
    return -ALPHA if layer % 2 == 0 else ALPHA


class Net:
    def __init__(self, rng):
        self.rng = rng
        self.w, self.b = [], []
        for n_in, n_out in zip(SIZES, SIZES[1:]):
            share = min(1.0, EPSILON * (n_in + n_out) / (n_in * n_out))
            rows, cols = np.nonzero(rng.random((n_in, n_out)) < share)
            values = rng.uniform(-1, 1, len(rows)) * np.sqrt(6 / n_in)
            self.w.append(sparse.csr_matrix((values, (rows, cols)), shape=(n_in, n_out)))
            self.b.append(np.zeros(n_out))
        self.reset_links()
        self.v = [np.zeros(w.nnz) for w in self.w]
        self.vb = [np.zeros_like(b) for b in self.b]

    def reset_links(self):
        self.links = [(np.repeat(np.arange(w.shape[0]), np.diff(w.indptr)), w.indices) for w in self.w]

    def forward(self, x, training):
        inputs, slopes = [x], []
        for l, (w, b) in enumerate(zip(self.w, self.b)):
            z = x @ w + b
            if l + 1 == len(self.w):
                return inputs, slopes, z
            factor = np.where(z >= 0, 1.0, slope(l))
            x = z * factor
            if training:
                keep = (self.rng.random(z.shape) >= DROPOUT) / (1 - DROPOUT)
                x, factor = x * keep, factor * keep
            inputs.append(x)
            slopes.append(factor)

    def step(self, x, y):
        inputs, slopes, z = self.forward(x, training=True)
        p = np.exp(z - z.max(1, keepdims=True))
        delta = p / p.sum(1, keepdims=True)
        delta[np.arange(len(y)), y] -= 1
        for l in reversed(range(len(self.w))):
            rows, cols = self.links[l]
            gradient = np.einsum("kb,kb->k", inputs[l].T[rows], delta.T[cols]) / len(y)
            below = (self.w[l] @ delta.T).T * slopes[l - 1] if l else None
            bias_gradient = delta.mean(0)
            self.v[l] = MOMENTUM * self.v[l] - RATE * gradient
            self.vb[l] = MOMENTUM * self.vb[l] - RATE * bias_gradient
            self.w[l].data += self.v[l] - DECAY * self.w[l].data
            self.b[l] += self.vb[l] - DECAY * self.b[l]
            delta = below

    def evolve(self):
        for l in range(len(self.w) - 1):
            n_in, n_out = self.w[l].shape
            values = self.w[l].data
            ordered = np.sort(values)
            smallest = np.flatnonzero(np.abs(ordered) == np.abs(ordered).min())
            first, end, m = smallest[0], smallest[-1] + 1, len(ordered)
            low = ordered[int((1 - ZETA) * first)]
            high = ordered[min(m - 1, int(end + ZETA * (m - end)))]
            kept = (values > high) | (values < low)
            rows, cols = self.links[l]
            keys = rows[kept].astype(np.int64) * n_out + cols[kept]
            taken, grown = set(keys.tolist()), []
            while len(taken) < m:
                key = int(self.rng.integers(n_in * n_out))
                if key not in taken:
                    taken.add(key)
                    grown.append(key)
            new = np.concatenate([keys, np.array(grown, np.int64)])
            start = self.rng.uniform(-1, 1, len(grown)) * np.sqrt(6 / n_in)
            order = np.argsort(new)
            new = new[order]
            values = np.concatenate([values[kept], start])[order]
            self.v[l] = np.concatenate([self.v[l][kept], np.zeros(len(grown))])[order]
            self.w[l] = sparse.csr_matrix((values, (new // n_out, new % n_out)), shape=(n_in, n_out))
        self.reset_links()


def run(seed, epochs, data):
    x, y, x_test, y_test = data
    rng = np.random.default_rng(seed)
    net, curve = Net(rng), []
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            net.step(x[rows], y[rows])
        z = net.forward(x_test, training=False)[2]
        curve.append(100 * np.mean(z.argmax(1) == y_test))
        if epoch + 1 < epochs:
            net.evolve()
    return curve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1..3", help="FIRST..LAST")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("/usr/share/datasets/fashion-mnist"))
    options = parser.parse_args()
    first, last = map(int, options.seeds.split(".."))
    data = load(options.data)
    curves = []
    for seed in range(first, last + 1):
        curves.append(run(seed, options.epochs, data))
        print(f"seed {seed}: " + " ".join(f"{a:.2f}" for a in curves[-1]), flush=True)
    print("mean:   " + " ".join(f"{a:.2f}" for a in np.mean(curves, axis=0)))


if __name__ == "__main__":
    main()
