#!/usr/bin/env python3
"""How long a step takes on N nodes: a simulation of the modes of docs/distributed.md.

    simulate.py table                     efficiency of each mode for 10 to 10,000 nodes, as Markdown
    simulate.py check < TABLE             predictions beside the measured table of hosts.sh

Nodes draw the time of each step from a log-normal law around its mean; who waits for others waits for the slowest.
A node's link carries one message after the other, each way. Rules of each mode:

sync       N nodes, M bytes of gradients. While a node goes back through its layers it sends every other node its part of
           what is complete, M (N - 1) / N in all; then the sums come back, as much again. Nothing of it is taken to hide
           behind the way back: MPI moves long messages while it is called.
local-sgd  H steps without messages, then the same twice over (values and momentum), hidden behind nothing.
wasap      every node sends M to the server and gets M back, each on its own time; the server's link carries all of it. One
           worker lives with the server.

Nodes that share fewer cores than they are (hosts.sh: 3 on 2) are as fast as the cores at best.
"""

import argparse
import math
import random
import sys
from statistics import NormalDist

OVERHEAD = 20e-6  # seconds a message, both ends
CORES = 2  # of the machine that hosts.sh ran on
SPREAD = 0.05  # log-normal deviation of a step's time


def slowest(nodes, seconds, steps, rng, spread):
    """Mean over steps of the slowest of so many nodes."""
    # The largest of N normals, by inverting the law of the maximum: one draw a step, however many nodes.
    total = 0.0
    for _ in range(steps):
        u = max(rng.random(), 1e-12) ** (1.0 / nodes)
        total += seconds * math.exp(spread * NormalDist().inv_cdf(min(u, 1 - 1e-16)))
    return total / steps


def half_exchange(nodes, size, bandwidth, latency):
    """Every node sends every other its part of an array."""
    if nodes == 1:
        return 0.0
    return size * (nodes - 1) / nodes / bandwidth + latency + (nodes - 1) * OVERHEAD


def step_time(mode, nodes, seconds, size, bandwidth, latency, local_steps=100, cores=None, steps=200, spread=SPREAD):
    """Seconds a step of `nodes` nodes whose own step takes `seconds`; size: bytes of a gradient on the wire."""
    cores = min(cores or nodes, nodes)
    if mode == "wasap":  # a step is one worker's gradient
        turn = seconds + 2 * (size / bandwidth + latency)
        remote = min((nodes - 1) / turn, bandwidth / size)
        return 1 / min(1 / seconds + remote, cores / seconds)
    half = half_exchange(nodes, size, bandwidth, latency)
    compute = slowest(nodes, seconds, steps, random.Random(1), spread)
    busy = seconds * nodes / cores
    if mode == "local-sgd":
        return max(seconds + (compute - seconds) / local_steps ** 0.5, busy) + 4 * half / local_steps
    return max(compute + 2 * half, busy)


def table():
    print("Efficiency (share of the time that a node computes), 100 million neurons, 200 million connections, 16 samples a "
          "node: 4.2 s a step, 800 MB of gradients\n")
    links = {"25 Gbit/s": (25e9 / 8, 20e-6), "1 Gbit/s": (1e9 / 8, 100e-6), "100 Mbit/s": (1e8 / 8, 20e-3)}
    print("| link | mode | " + " | ".join(f"{n:,}" for n in (10, 100, 1000, 10000)) + " |\n|---|---|---|---|---|---|")
    for link, (bandwidth, latency) in links.items():
        for name, mode, size, local in [("sync", "sync", 8e8, 1), ("sync, bf16", "sync", 4e8, 1),
                                        ("local-sgd, 50 steps", "local-sgd", 8e8, 50),
                                        ("local-sgd, 500 steps", "local-sgd", 8e8, 500), ("wasap", "wasap", 8e8, 1)]:
            cells = []
            for nodes in (10, 100, 1000, 10000):
                time = step_time(mode, nodes, 4.2, size, bandwidth, latency, local)
                cells.append(4.2 / time / (nodes if mode == "wasap" else 1))
            print(f"| {link} | {name} | " + " | ".join(f"{c:.3f}" if c < 0.1 else f"{c:.2f}" for c in cells) + " |")


def check():
    """Compute time is what the unshaped run took; everything else is the model's."""
    nnz = 125_680 + 3_010
    size_of = lambda name: (2 if name.endswith("bf16") else 4) * nnz
    lines = [line.strip(" |\n").split(" | ") for line in sys.stdin if line.startswith("|") and "---" not in line]
    rates = [float(word.split()[0]) for word in (cell.strip() for cell in lines[0][2:])]
    print("| mode | link | measured, ms | predicted, ms | predicted / measured |\n|---|---|---|---|---|")
    for mode, free, *shaped in lines[1:]:
        for rate, measured in zip(rates, map(float, shaped)):
            # The run was bound by the cores: that gives a step's time on a core of its own.
            own = float(free) / 1e3 * CORES / (1 if mode == "wasap" else 3)
            kind = "local-sgd" if mode.startswith("local") else "wasap" if mode == "wasap" else "sync"
            predicted = 1e3 * step_time(kind, 3, own, size_of(mode), rate * 1e6 / 8 * 0.95, 100e-6, cores=CORES, spread=0.0,
                                        local_steps=int(mode.rsplit("-")[-1]) if kind == "local-sgd" else 1)
            print(f"| {mode} | {rate:g} Mbit/s | {measured:.2f} | {predicted:.2f} | {predicted / measured:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "check"])
    table() if parser.parse_args().what == "table" else check()


if __name__ == "__main__":
    main()
