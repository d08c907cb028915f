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
import ctypes
import glob
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings

os.environ.setdefault("NM_DISABLE_ANALYTICS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

import numpy as np
import scipy.sparse

warnings.filterwarnings("ignore", module="torch")
warnings.filterwarnings("ignore", message=".*[Ss]parse.*")

HERE = pathlib.Path(__file__).parent
SHAPES = "784x1000,1000x1000,3072x4000,4000x4000,65536x4096"
LONGEST = 2.0  # seconds of one call beyond which a library is called once only
MOST_DENSE = 4e9  # the same, of products of the full matrix
MOST_WORK = 7e9  # multiply-adds of one product; beyond, a call of the slower libraries takes many seconds
TOLERANCE = 1e-5  # of the largest value, for float results


def aligned(array):
    """The same values at an address that is a multiple of 64: vectors that straddle cache lines would slow peers down."""
    array = np.ascontiguousarray(array)
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start:start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


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


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


# A peer is a class: Peer() raises what is missing; use(problem, threads) prepares; each product is a method that does one
# call and returns its result, in the layout [feature][sample] or one per connection.


class PyTorch:
    """CSR with 32-bit indices, X as [feature][sample]; sampled_addmm with beta 0 and 64-bit indices; a transposed copy."""

    def __init__(self):
        import torch

        self.torch = torch
        self.name = f"PyTorch {torch.__version__} CSR"

    def use(self, p, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        self.p, shape = p, (p.outputs, p.inputs)
        rows, columns = torch.from_numpy(p.row_ptr), torch.from_numpy(p.columns)
        values = torch.from_numpy(p.values)
        self.w = torch.sparse_csr_tensor(rows.int(), columns, values, shape)
        self.zeros = torch.sparse_csr_tensor(rows, columns.long(), torch.zeros_like(values), shape)
        t = p.csr.T.tocsr()
        self.w_t = torch.sparse_csr_tensor(torch.from_numpy(t.indptr), torch.from_numpy(t.indices),
                                           torch.from_numpy(t.data), shape[::-1])
        self.x, self.dz = torch.from_numpy(p.x), torch.from_numpy(p.dz)

    def forward(self):
        return self.torch.sparse.mm(self.w, self.x)

    def weights(self):
        return self.torch.sparse.sampled_addmm(self.zeros, self.dz, self.x.t(), beta=0.0).values()

    def both(self):
        self.torch.sparse.mm(self.w_t, self.dz)
        return self.weights()


class PyTorchDense:
    """The full matrix, in the faster of two layouts."""

    def __init__(self):
        import torch

        self.torch = torch
        self.name = "PyTorch dense"

    def use(self, p, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        self.w = torch.from_numpy(aligned(p.csr.toarray()))
        self.x = torch.from_numpy(p.x)
        self.samples = self.x.t().contiguous()

        def seconds(call):
            start = time.perf_counter()
            call()
            return time.perf_counter() - start

        calls = [lambda: self.w @ self.x, lambda: self.torch.nn.functional.linear(self.samples, self.w).t()]
        for call in calls:
            call()
        self.call = min(calls, key=lambda call: min(seconds(call) for _ in range(2)))

    def forward(self):
        return self.call()


class SciPy:
    name = f"SciPy {scipy.__version__}"

    def use(self, p, threads):
        if threads != 1:
            raise RuntimeError("runs on one thread only")
        self.p = p

    def forward(self):
        return self.p.csr @ self.p.x


class Mkl:
    """An optimised handle, hinted and made under the thread count that is timed; row-major or sample-major, whichever is
    faster; mv for a single sample."""

    ROW, COLUMN, NO_TRANSPOSE, GENERAL = 101, 102, 10, 20

    class Description(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("mode", ctypes.c_int), ("diagonal", ctypes.c_int)]

    def __init__(self):
        libraries = glob.glob(sysconfig.get_path("data") + "/lib/libmkl_rt.so*")
        if not libraries:
            raise ImportError("the PyPI package mkl is not installed")
        self.mkl = ctypes.CDLL(libraries[0])
        self.name = "MKL"
        self.handle = None

    def use(self, p, threads):
        self.mkl.MKL_Set_Num_Threads(threads)
        if self.handle:
            self.mkl.mkl_sparse_destroy(self.handle)
        self.p, self.handle = p, ctypes.c_void_p()
        self.row_ptr = p.row_ptr.astype(np.int32)
        self.columns, self.values = p.columns.copy(), p.values.copy()
        self.description = self.Description(self.GENERAL, 0, 0)
        self.check(self.mkl.mkl_sparse_s_create_csr(
            ctypes.byref(self.handle), 0, p.outputs, p.inputs, pointer(self.row_ptr),
            ctypes.c_void_p(self.row_ptr.ctypes.data + 4), pointer(self.columns), pointer(self.values)))
        if p.batch == 1:
            self.mkl.mkl_sparse_set_mv_hint(self.handle, self.NO_TRANSPOSE, self.description, 1000)
        else:
            self.mkl.mkl_sparse_set_mm_hint(self.handle, self.NO_TRANSPOSE, self.description, self.ROW, p.batch, 1000)
        self.mkl.mkl_sparse_optimize(self.handle)
        self.y = aligned(np.zeros((p.outputs, p.batch), np.float32))
        self.samples, self.y_samples = aligned(p.x.T), aligned(np.zeros((p.batch, p.outputs), np.float32))
        calls = [self.vector] if p.batch == 1 else [self.by_rows, self.by_samples]

        def seconds(call):
            start = time.perf_counter()
            call()
            return time.perf_counter() - start

        self.call = min(calls, key=lambda call: min(seconds(call) for _ in range(2)))

    @staticmethod
    def check(status):
        if status != 0:
            raise RuntimeError(f"MKL status {status}")

    def vector(self):
        self.mkl.mkl_sparse_s_mv(self.NO_TRANSPOSE, ctypes.c_float(1), self.handle, self.description, pointer(self.p.x),
                                 ctypes.c_float(0), pointer(self.y))
        return self.y

    def multiply(self, layout, x, x_stride, y, y_stride):
        self.mkl.mkl_sparse_s_mm(self.NO_TRANSPOSE, ctypes.c_float(1), self.handle, self.description, layout, pointer(x),
                                 self.p.batch, x_stride, ctypes.c_float(0), pointer(y), y_stride)

    def by_rows(self):
        self.multiply(self.ROW, self.p.x, self.p.batch, self.y, self.p.batch)
        return self.y

    def by_samples(self):
        self.multiply(self.COLUMN, self.samples, self.p.inputs, self.y_samples, self.p.outputs)
        return self.y_samples.T

    def forward(self):
        return self.call()


class SparseProp:
    """Adds to its outputs, so that they are set to zero inside the timing."""

    def __init__(self):
        import torch  # its threads are set through PyTorch's OpenMP
        import backend

        self.torch, self.backend, self.name = torch, backend, "SparseProp"

    def use(self, p, threads):
        torch = self.torch
        torch.set_num_threads(threads)
        self.rows, self.columns = torch.from_numpy(p.row_ptr.astype(np.int32)), torch.from_numpy(p.columns)
        self.values, self.x, self.dz = (torch.from_numpy(a) for a in (p.values, p.x, p.dz))
        self.y = torch.zeros(p.outputs, p.batch)
        self.dx, self.dw = torch.zeros_like(self.x), torch.zeros_like(self.values)

    def forward(self):
        self.y.zero_()
        self.backend.sparse_linear_vectorized_forward(self.x, self.rows, self.columns, self.values, self.y)
        return self.y

    def both(self):
        self.dx.zero_()
        self.dw.zero_()
        self.backend.sparse_linear_vectorized_backward(self.x, self.rows, self.columns, self.values, self.dz, self.dx,
                                                       self.dw)
        return self.dw


class Compiled:
    """peers.cpp, compiled here for this machine."""

    library = None

    @classmethod
    def load(cls):
        if cls.library is None:
            cls.folder = tempfile.TemporaryDirectory()
            target = cls.folder.name + "/peers.so"
            command = ["g++", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-I/usr/include/eigen3",
                       str(HERE / "peers.cpp"), "-o", target]
            try:
                subprocess.run(command + ["-lxsmmext", "-lxsmm", "-lxsmmnoblas"], check=True, capture_output=True)
            except subprocess.CalledProcessError:
                subprocess.run(command, check=True, capture_output=True)
            cls.library = ctypes.CDLL(target)
        return cls.library


class Eigen:
    name = "Eigen"

    def __init__(self):
        self.library = Compiled.load()

    def use(self, p, threads):
        if threads != 1:
            raise RuntimeError("runs on one thread only")
        self.p, self.row_ptr = p, p.row_ptr.astype(np.int32)
        self.y = aligned(np.zeros((p.outputs, p.batch), np.float32))

    def forward(self):
        p = self.p
        self.library.eigen_forward(p.inputs, p.outputs, p.batch, len(p.values), pointer(self.row_ptr), pointer(p.columns),
                                   pointer(p.values), pointer(p.x), pointer(self.y))
        return self.y


class Libxsmm:
    name = "LIBXSMM spmdm"

    def __init__(self):
        self.library = Compiled.load()
        if not hasattr(self.library, "spmdm_make"):
            raise ImportError("libxsmm-dev is not installed")
        self.library.spmdm_make.restype = ctypes.c_void_p
        self.made = None

    def use(self, p, threads):
        if self.made:
            self.library.spmdm_free(ctypes.c_void_p(self.made))
            self.made = None
        dense = p.csr.toarray()
        self.p, self.y = p, aligned(np.zeros((p.outputs, p.batch), np.float32))
        self.made = self.library.spmdm_make(p.inputs, p.outputs, p.batch, threads, pointer(dense))

    def forward(self):
        self.library.spmdm_forward(ctypes.c_void_p(self.made), pointer(self.p.x), pointer(self.y))
        return self.y


class DeepSparse:
    name = "DeepSparse"

    def __init__(self):
        import deepsparse  # noqa: F401
        raise ImportError("found, but this comparison was written where no wheel of it could be had")


class Aocl:
    name = "AOCL-Sparse"

    def __init__(self):
        ctypes.CDLL("libaoclsparse.so")
        raise ImportError("found, but this comparison was written where it could not be had")


PEERS = [PyTorch, PyTorchDense, SciPy, Mkl, SparseProp, Eigen, Libxsmm, DeepSparse, Aocl]
OURS = {  # what stands in the table beside the peers' product
    "forward": ["forward-f32", "forward-bf16", "forward-int8", "training-f32", "dense"],
    "weights": ["weights-f32", "weights-bf16"],
    "both": ["both-f32", "both-bf16"],
}


def available():
    peers = []
    for kind in PEERS:
        try:
            peers.append(kind())
        except Exception as error:  # whatever is wrong with a peer, the others go on
            print(f"without {kind.__name__}: {type(error).__name__}: {error}")
    return peers


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
    ours = [name for name in OURS[product] if name != "dense" or problem.inputs * problem.outputs * problem.batch < MOST_DENSE]
    for name in ours:
        times[name] = tulle.timed(name, 0.0)
        results[name] = tulle.result()
    able = []
    for peer in peers:
        if not hasattr(peer, product):
            continue
        if isinstance(peer, (PyTorchDense, Libxsmm)) and problem.inputs * problem.outputs * problem.batch > MOST_DENSE:
            continue
        try:
            peer.use(problem, threads)
            call = getattr(peer, product)
            before = time.perf_counter()
            result = call()
            times[peer.name] = time.perf_counter() - before
            results[peer.name] = np.asarray(result).ravel().copy()
            able.append((peer, call))
        except Exception as error:
            if options.verbose:
                print(f"    {peer.name}: {error}")
    for _ in range(options.rounds):
        for name in ours:
            times[name] = min(times[name], tulle.timed(name, options.seconds))
        for peer, call in able:
            if times[peer.name] < LONGEST:
                times[peer.name] = min(times[peer.name], fastest(call, options.seconds))
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
