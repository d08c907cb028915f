#!/usr/bin/env python3
"""Steps of accelerated iterative hard thresholding (arXiv 2509.20323) by tulle and by NumPy, side by side.

The NumPy form multiplies all neurons' gates and gradients as two matrix products, as fast as NumPy can; the published code goes
neuron by neuron and takes far longer. Both see data of the same law, the same number of steps and the same threads, in turn.

Usage: recover_numpy.py BINARY [--n 50000] [--d 100] [--m 200] [--s 200] [--steps 15] [--repeats 5] [--threads 1]
"""

import argparse
import json
import os
import subprocess
import tempfile
import time


def planted(np, n, d, m, s, seed):
    random = np.random.default_rng(seed)
    w = np.zeros(m * d)
    w[random.choice(m * d, s, replace=False)] = random.normal(size=s)
    x = random.normal(size=(n, d)).astype(np.float32)
    return x, np.maximum(x @ w.reshape(m, d).T.astype(np.float32), 0).sum(axis=1).astype(np.float64)


def columns(np, x, gates, support, d):
    """A_S, formed: samples x support."""
    return x[:, support % d] * gates[:, support // d]


def recover(np, x, y, m, s, steps, seed):
    n, d = x.shape
    random = np.random.default_rng(seed + 1)
    h = random.normal(size=(m, d)).astype(np.float32)
    support, v = np.zeros(0, dtype=np.int64), np.zeros(0)
    for t in range(steps):
        gates = (x @ h.T > 0).astype(np.float32)
        a = columns(np, x, gates, support, d)
        r = a @ v - y if len(v) else -y
        mu = 1e-14
        if len(v):
            g = a.T @ r
            q = a @ g
            mu = g @ g / (q @ q + 1e-8)
        z = -mu * ((gates * r[:, None].astype(np.float32)).T @ x).ravel().astype(np.float64)
        z[support] += v
        support = np.sort(np.argpartition(np.abs(z), -s)[-s:])
        v = z[support]
        a = columns(np, x, gates, support, d)
        for _ in range(10):
            r = a @ v - y
            g = a.T @ r
            q = a @ g
            curve = q @ q
            if curve == 0:
                break
            tries = 0
            while mu > 1.1 * (g @ g) / curve and tries < 11:
                mu /= 2
                tries += 1
            v = v - mu * g if tries < 11 else z[support]
        if t >= 1:
            h = np.zeros((m, d), dtype=np.float32)
            h.ravel()[support] = v
    f = np.maximum(x @ h.T, 0).sum(axis=1)
    return 20 * np.log10(np.abs(y).max()) - 10 * np.log10(np.mean((f - y) ** 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    for name, default in (("n", 50000), ("d", 100), ("m", 200), ("s", 200), ("steps", 15), ("repeats", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(args.threads)
    import numpy as np

    x, y = planted(np, args.n, args.d, args.m, args.s, 0)
    ours, numpy = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            words = [args.binary, "recover", "--method=aiht", "--published", f"--n={args.n}", f"--d={args.d}", f"--steps={args.steps}",
                     f"--hidden-width={args.m}", f"--nnz={args.s}", f"--threads={args.threads}", f"--out={folder}", "--json", "-q"]
            record = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            ours.append(record["seconds"])
            began = time.perf_counter()
            psnr = recover(np, x, y, args.m, args.s, args.steps, 0)
            numpy.append(time.perf_counter() - began)
    print(f"n {args.n}, d {args.d}, m {args.m}, s {args.s}, {args.threads} thread(s), {args.steps} steps, least of {args.repeats}")
    print(f"{'':10} {'ms a step':>10} {'PSNR, dB':>9}")
    print(f"{'tulle':10} {1e3 * min(ours) / args.steps:10.2f} {record['psnr']:9.2f}")
    print(f"{'NumPy':10} {1e3 * min(numpy) / args.steps:10.2f} {psnr:9.2f}")
    print(f"ratio      {min(numpy) / min(ours):10.2f}")


if __name__ == "__main__":
    main()
