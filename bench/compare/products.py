"""One sparse layer's products in tulle and in every library that can be installed, side by side in one run.

The same matrices, threads and run for all; rounds alternate between the programs and the fastest call of all rounds counts.
Everybody gets the layout and the call that suits it best; what is prepared once (transposed copies, optimised handles, packed
rows) is outside the timing. Results are compared with ours.

    python products.py BENCH_PRODUCTS [--shapes 1000x1000,...] [--densities 0.5,1,...] [--batches 1,32,...] [--threads 1,2]
                       [--products forward,weights,both] [--csv FILE] [--markdown FILE]

Products: forward Y = W X; weights dW_k = sum over samples of dZ X on the connections (SDDMM); both: dW and W^T dZ together.
A ratio is the library's time divided by ours. A library that is not there is named with its error.
"""

import argparse
import contextlib
import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import scipy.sparse

from peers import aligned, available

SHAPES = "784x1000,1000x1000,3072x4000,4000x4000,65536x4096"
LONGEST = 2.0  # seconds of one call beyond which a library is called once only
MOST_WORK = 7e9  # multiply-adds of one product; beyond, a call of the slower libraries takes many seconds
MOST_DENSE = 4e9  # the same, of products of the full matrix
TOLERANCE = 1e-5  # of the largest value, for float results


class Problem:
    """One matrix, one batch. Arrays are [feature][sample]."""

    def __init__(self, inputs, outputs, density, batch, folder):
        self.inputs, self.outputs, self.density, self.batch, self.folder = inputs, outputs, density, batch, folder
        random = np.random.default_rng(1)
        cells = inputs * outputs  # drawn often enough that about this share of them is hit
        keys = np.unique(random.integers(0, cells, round(-cells * np.log1p(-density))))
        self.row_ptr = np.zeros(outputs + 1, np.int64)
        self.row_ptr[1:] = np.bincount(keys // inputs, minlength=outputs).cumsum()
        self.columns = aligned((keys % inputs).astype(np.int32))
        self.values = aligned(random.uniform(-1, 1, len(keys)).astype(np.float32))
        self.x = aligned(random.standard_normal((inputs, batch), dtype=np.float32))
        self.dz = aligned(random.standard_normal((outputs, batch), dtype=np.float32))
        self.csr = scipy.sparse.csr_matrix((self.values, self.columns, self.row_ptr.astype(np.int32)),
                                           shape=(outputs, inputs))
        for name in ["row_ptr", "columns", "values", "x", "dz"]:
            getattr(self, name).tofile(folder / name)

    def flop(self, product):
        return (4 if product == "both" else 2) * len(self.values) * self.batch


class Tulle:
    """bench_products in a process of its own: our thread pool and the peers' stay apart."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def load(self, problem, threads):
        self.problem = problem
        self.ask(f"threads {threads}")
        self.ask(f"load {problem.folder} {problem.inputs} {problem.outputs} {problem.batch}")

    def timed(self, name, seconds):
        return self.ask(f"time {name} {seconds}")["seconds"]

    def result(self):
        return np.fromfile(self.problem.folder / "result", np.float32)


OURS = {  # what stands in the table beside the peers' product
    "forward": ["forward-f32", "forward-bf16", "forward-int8", "training-f32", "dense"],
    "weights": ["weights-f32", "weights-bf16"],
    "both": ["both-f32", "both-bf16"],
}


def fastest(call, seconds):
    """The fastest call within some seconds, and how long the first one took."""
    best, start = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - before)
    return best


def compare(tulle, peers, problem, threads, product, options):
    """name -> seconds, for us and for every peer that has this product."""
    tulle.load(problem, threads)
    times, results = {}, {}
    dense_fits = problem.inputs * problem.outputs * problem.batch <= MOST_DENSE
    ours = [name for name in OURS[product] if name != "dense" or dense_fits]
    for name in ours:
        times[name] = tulle.timed(name, 0.0)
        results[name] = tulle.result()
    able = []
    for peer in peers:
        if not hasattr(peer, product) or (getattr(peer, "from_dense", False) and not dense_fits):
            continue
        try:
            peer.use(problem, threads)
            call = getattr(peer, product)
            before = time.perf_counter()
            result = call()
            products = getattr(peer, "layers", 1)
            times[peer.name] = (time.perf_counter() - before) / products
            if result is not None:
                results[peer.name] = np.asarray(result).ravel().copy()
            able.append((peer, call, products))
        except Exception as error:
            if options.verbose:
                print(f"    {peer.name}: {error}")
    for _ in range(options.rounds):
        for name in ours:
            times[name] = min(times[name], tulle.timed(name, options.seconds))
        for peer, call, products in able:
            if times[peer.name] < LONGEST:
                times[peer.name] = min(times[peer.name], fastest(call, options.seconds) / products)
    truth = results[ours[0]]
    scale = np.abs(truth).max(initial=1e-30)
    for name, result in results.items():
        error = np.abs(result - truth).max(initial=0.0) / scale
        if not (name.endswith(("bf16", "int8")) or error < TOLERANCE):
            sys.exit(f"{name} differs from ours by {error:.2g} of the largest value")
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--densities", default="0.5,1,5,10,20", help="per cent")
    parser.add_argument("--batches", default="1,32,128,1024")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--products", default="forward,weights,both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.03, help="of each program in each round")
    parser.add_argument("--csv", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()

    tulle, peers = Tulle(options.program), available()
    limits = {}
    for threads in map(int, options.threads.split(",")):
        tulle.ask(f"threads {threads}")
        limits[threads] = tulle.ask("machine")
        print(f"{limits[threads]['isa']}, {threads} thread(s): FMA peak {limits[threads]['fma_peak']:.1f} GFLOP/s")
    rows = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as files:
        table = None
        if options.csv:
            table = csv.writer(files.enter_context(options.csv.open("w", newline="")))
            table.writerow(["product", "inputs", "outputs", "density", "batch", "threads", "program", "seconds", "gflops",
                            "of_peak", "ratio"])
        for shape in options.shapes.split(","):
            inputs, outputs = map(int, shape.split("x"))
            for density in map(float, options.densities.split(",")):
                for batch in map(int, options.batches.split(",")):
                    if inputs * outputs * density / 100 * batch > MOST_WORK:
                        continue
                    problem = Problem(inputs, outputs, density / 100, batch, pathlib.Path(folder))
                    for threads in map(int, options.threads.split(",")):
                        for product in options.products.split(","):
                            if product != "forward" and batch < 16:
                                continue
                            times = compare(tulle, peers, problem, threads, product, options)
                            ours = times[OURS[product][0]]
                            peak = limits[threads]["fma_peak"]
                            line = f"{product:<8} {shape:>11} {density:>4g} % batch {batch:<4} T{threads}"
                            for name, seconds in times.items():
                                rate = problem.flop(product) / seconds * 1e-9
                                line += f"  {name} {rate:.1f}" + (f" ({seconds / ours:.2f}x)" if seconds != ours else "")
                                row = [product, inputs, outputs, density, batch, threads, name, seconds, rate,
                                       rate / peak, seconds / ours]
                                rows.append(row)
                                if table:
                                    table.writerow(row)
                            print(line, flush=True)
    tulle.ask(f"threads {max(limits)}")
    drift = abs(tulle.ask("machine")["fma_peak"] / limits[max(limits)]["fma_peak"] - 1)
    print(f"the FMA peak moved by {100 * drift:.1f} %" + (": figures not to be quoted" if drift > 0.05 else ""))
    if options.markdown:
        options.markdown.write_text(markdown(rows))


def markdown(rows):
    """A table per product: GFLOP/s of everybody, the peers with how many times as long they take."""
    text = ""
    for product in dict.fromkeys(row[0] for row in rows):
        mine = [row for row in rows if row[0] == product]
        names = list(dict.fromkeys(row[6] for row in mine))
        text += f"\n### {product}\n\n| layer | density | batch | threads | " + " | ".join(names) + " |\n"
        text += "|" + "---|" * (4 + len(names)) + "\n"
        cells = {}
        for row in mine:
            cells.setdefault((f"{row[1]} x {row[2]}", f"{row[3]:g} %", str(row[4]), str(row[5])), {})[row[6]] = (
                f"{row[8]:.1f}" if row[6] in OURS[product] else f"{row[8]:.1f} ({row[10]:.2f}x)")
        for key, found in cells.items():
            text += "| " + " | ".join([*key, *(found.get(name, "") for name in names)]) + " |\n"
    return text


if __name__ == "__main__":
    main()
