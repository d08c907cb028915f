"""The other libraries of products.py, each called in the way and the layout that suits it best.

A peer is a class: Peer() raises what is missing; use(problem, threads) prepares, which is not timed; each product is a method
that does one call and returns its result, in the layout [feature][sample] or one value per connection, or nothing if use()
has checked it. A call of a peer with `layers` does that many products; one with `from_dense` needs the full matrix.
"""

import ctypes
import glob
import os
import pathlib
import subprocess
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


def aligned(array):
    """The same values at an address that is a multiple of 64: vectors that straddle cache lines would slow peers down."""
    array = np.ascontiguousarray(array)
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start:start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


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

    from_dense = True

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
    from_dense = True

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
    """An ONNX network of layers with bias and ReLU, [sample][feature]. A call passes through Python, so that a square layer
    is timed as three in a row."""

    name = "DeepSparse"
    from_dense = True

    def __init__(self):
        import deepsparse
        import onnx

        self.deepsparse, self.onnx = deepsparse, onnx
        self.folder = tempfile.TemporaryDirectory()

    def use(self, p, threads):
        self.layers = 3 if p.inputs == p.outputs else 1
        helper, tensor = self.onnx.helper, self.onnx.numpy_helper.from_array
        dense, nodes = p.csr.toarray(), []
        constants = [tensor(dense, "w"), tensor(np.zeros(p.outputs, np.float32), "b")]
        for i in range(self.layers):
            nodes.append(helper.make_node("Gemm", [f"x{i}", "w", "b"], [f"z{i}"], transB=1))
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"x{i + 1}"]))

        def value(name, features):
            return helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, [p.batch, features])

        graph = helper.make_graph(nodes, "layers", [value("x0", p.inputs)], [value(f"x{self.layers}", p.outputs)],
                                  constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = self.folder.name + "/layers.onnx"
        self.onnx.save(model, path)
        self.engine = self.deepsparse.Engine(path, batch_size=p.batch, num_cores=threads)
        self.x = [np.ascontiguousarray(p.x.T)]
        expected = p.x
        for _ in range(self.layers):
            expected = np.maximum(p.csr @ expected, 0)
        error = np.abs(self.engine.run(self.x)[0].T - expected).max() / max(np.abs(expected).max(), 1e-30)
        if error > 1e-4:  # three layers on top of one another
            raise RuntimeError(f"differs by {error:.2g} of the largest value")

    def forward(self):
        self.engine.run(self.x)  # its result, which use() has checked, is not that of one product


class Aocl:
    name = "AOCL-Sparse"

    def __init__(self):
        ctypes.CDLL("libaoclsparse.so")
        raise ImportError("found, but this comparison was written where it could not be had")


PEERS = [PyTorch, PyTorchDense, SciPy, Mkl, SparseProp, Eigen, Libxsmm, DeepSparse, Aocl]
def available():
    peers = []
    for kind in PEERS:
        try:
            peers.append(kind())
        except Exception as error:  # whatever is wrong with a peer, the others go on
            print(f"without {kind.__name__}: {type(error).__name__}: {error}")
    return peers
