"""Truly sparse linear layers for PyTorch: the engine's kernels under torch's autograd and optimizers.

    from tulle.torch import SparseLinear
    net = torch.nn.Sequential(SparseLinear(784, 1000, density=0.05), torch.nn.ReLU(), SparseLinear(1000, 10))

Weights, gradients and optimizer state have one entry per connection; nothing of size n_out x n_in is ever made. The
kernels use as many threads as torch does (``torch.set_num_threads``) and give the same bits for any number of them.
"""

import math
import weakref

import torch
from torch.autograd.function import once_differentiable

from . import _core

__all__ = ["SparseLinear", "save_safetensors", "sparse_linear"]

copies = 0
"""How many inputs and gradients so far had to be copied because they were not contiguous."""

_products = {}  # id of a crow -> a weak reference to it, what its pattern was, the packed orders of that


class SparseLinear(torch.nn.Module):
    """y = x W^T + b, with W [n_out, n_in] of which only the connections exist.

    ``values`` [nnz] and ``bias`` [n_out] are parameters like any other; the buffers ``crow`` (int64, [n_out + 1]) and
    ``col`` (int32, [nnz]) say in CSR which connections they belong to.

    density, epsilon, distribution: how many connections and where, as the ``[topology]`` keys of a config. epsilon
    given means distribution "epsilon"; "fixed-fan-in" gives every output the whole number next to density * n_in.
    seed: of the pattern and of the start values; None draws one from torch's generator. Values start as those of
    ``torch.nn.Linear``, uniform within 1 / sqrt(fan in), with each output's true number of connections for the fan in.
    dtype: float32, bfloat16 (multiplied in float32) or float64 (slow and exact, to check gradients).
    keep_gradients: keep the last batch and its gradient for rules that look at them ("rigl", "gse"); costs two batches
    of memory, and float64 has none.
    """

    def __init__(
        self,
        n_in,
        n_out,
        density=0.1,
        epsilon=None,
        distribution="uniform",
        bias=True,
        seed=None,
        dtype=torch.float32,
        keep_gradients=False,
    ):
        super().__init__()
        if seed is None:
            seed = int(torch.randint(2**62, ()))
        crow, col = _core.draw(
            "epsilon" if epsilon is not None else distribution,
            [n_in, n_out],
            density,
            0.0 if epsilon is None else epsilon,
            max(1, round(density * n_in)),
            seed,
        )[0]
        self._hold(n_in, torch.from_numpy(crow), torch.from_numpy(col), bias, seed, dtype, keep_gradients)
        self.reset_parameters(torch.Generator().manual_seed(seed))

    def _hold(self, n_in, crow, col, bias, seed, dtype, keep_gradients=False):
        if dtype not in _NUMBERS:
            raise TypeError(f"dtype, found {dtype}, expected {_named(_NUMBERS)}")
        self.in_features, self.out_features = n_in, crow.numel() - 1
        self.seed, self.events = seed, 0
        self.keep_gradients = keep_gradients
        self._last = None
        self.register_buffer("crow", crow)
        self.register_buffer("col", col)
        self.values = torch.nn.Parameter(torch.zeros(col.numel(), dtype=dtype))
        start = torch.nn.Parameter(torch.zeros(self.out_features, dtype=dtype)) if bias else None
        self.register_parameter("bias", start)

    @classmethod
    def from_csr(cls, weight, bias=None, seed=0):
        """From a torch sparse CSR matrix [n_out, n_in] with sorted rows; ``bias`` [n_out] or None for no bias."""
        if weight.layout != torch.sparse_csr:
            raise TypeError(f"weight, found layout {weight.layout}, expected torch.sparse_csr; use to_sparse_csr()")
        return cls._of(weight.shape[1], weight.crow_indices(), weight.col_indices(), weight.values(), bias, seed)

    @classmethod
    def _of(cls, n_in, crow, col, values, bias, seed):
        module = cls.__new__(cls)
        torch.nn.Module.__init__(module)
        crow, col = crow.to(torch.int64, copy=True), col.to(torch.int32, copy=True)
        module._hold(n_in, crow, col, bias is not None, seed, values.dtype)
        _product_of(module.crow, module.col, n_in)  # refuses what is no pattern
        with torch.no_grad():
            module.values.copy_(values)
            if bias is not None:
                module.bias.copy_(bias)
        return module

    @classmethod
    def from_dense(cls, linear, sparsify="nonzero", seed=0):
        """From a ``torch.nn.Linear``, with the connections that ``sparsify`` keeps; bias and dtype stay.

        sparsify: as ``tulle prune --connections``: "magnitude:0.95" keeps the 5 % of largest magnitude, "nonzero" what
        is not 0, "nm:2:4" two of each four. Cost: one float32 copy of the dense weight.
        """
        weight = linear.weight.detach()
        _check("weight", weight)
        rows, columns = weight.shape
        model = _model([(weight.float().contiguous(),)], [torch.zeros(rows)], [(rows, columns)])
        model.prune_connections(sparsify)
        _, col, crow, _ = model.weight(0)
        crow, col = (torch.from_numpy(part.astype("int64")) for part in (crow, col))
        values = weight[torch.arange(rows).repeat_interleave(crow.diff()), col]
        return cls._of(columns, crow, col, values, linear.bias, seed)

    def reset_parameters(self, generator=None):
        """New start values on the same pattern, from ``generator`` (torch's by default)."""
        with torch.no_grad():
            self.values.uniform_(-1.0, 1.0, generator=generator).mul_(self._bounds())
            if self.bias is not None:
                self.bias.uniform_(-1.0, 1.0, generator=generator).mul_(self._fan_in().clamp(min=1).rsqrt())

    def _fan_in(self):
        return self.crow.diff()

    def _bounds(self):
        """1 / sqrt(fan in) of the output of each connection."""
        fan_in = self._fan_in()
        return fan_in.clamp(min=1).rsqrt().to(self.values.dtype).repeat_interleave(fan_in)

    @property
    def nnz(self):
        """Number of connections."""
        return self.values.numel()

    @property
    def density(self):
        """Share of the n_out x n_in cells that are connections."""
        return self.nnz / (self.in_features * self.out_features)

    def forward(self, x):
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"x, found shape {tuple(x.shape)}, expected [..., {self.in_features}]")
        step = _Step() if self.keep_gradients and torch.is_grad_enabled() else None
        self._last = step or self._last  # an evaluation in between leaves the last training step where it is
        return _sparse_linear(x, self.values, self.crow, self.col, self.bias, step)

    @torch.no_grad()
    def evolve(self, rule="set", optimizer=None, zeta=0.3):
        """Replaces the share ``zeta`` of the connections as a rule of the engine does, in place and at constant nnz.

        rule: a name of ``tulle list rules`` ("set", "rigl", "mest", ...; "granet" replaces as "rigl" does and loses
        none). "rigl", "granet", "gse" and "snfs" (of that step alone) need ``keep_gradients=True`` and a backward pass
        before; "mest" looks at ``values.grad``. Every state tensor of ``optimizer`` that has one entry per connection
        moves along, and so does ``values.grad``; grown connections have 0 there. Their values start at 0 or as the
        layer's start values, whichever is the rule's way. What an optimizer counts per tensor (Adam's step) stays.
        Returns how many connections were replaced. Cost: O(nnz), for "rigl" and "granet" batch * n_in * n_out
        multiplications.
        """
        if optimizer is not None and not any(p is self.values for g in optimizer.param_groups for p in g["params"]):
            raise ValueError("optimizer, found one without this layer's values, expected the one that trains them")
        product = _product_of(self.crow, self.col, self.in_features)
        x, g = (self._last.x, self._last.g) if self._last is not None else (None, None)
        gradient = None if self.values.grad is None else self.values.grad.float().numpy()
        _follow_threads()
        evolved, places, from_zero = product.evolve(
            self.values.float().numpy(), gradient, rule, zeta, self.seed % 2**64, self.events, x, g
        )
        self.events += 1
        places = torch.from_numpy(places)
        grown = places < 0
        places.clamp_(min=0)

        def move(array):
            array.copy_(array[places].masked_fill_(grown, 0))

        moved = [self.values] if self.values.grad is None else [self.values, self.values.grad]
        if optimizer is not None:
            state = optimizer.state.get(self.values, {}).values()
            moved += [entry for entry in state if torch.is_tensor(entry) and entry.shape == self.values.shape]
        for array in moved:
            move(array)
        crow, col = evolved.arrays()
        self.crow.copy_(torch.from_numpy(crow))
        self.col.copy_(torch.from_numpy(col))
        _remember(self.crow, self.col, self.in_features, evolved)
        self._last = None
        if not from_zero:
            bound = self._bounds()[grown]
            generator = torch.Generator().manual_seed((self.seed + self.events) % 2**63)
            self.values[grown] = bound * (2 * torch.rand(bound.shape, generator=generator) - 1).to(bound.dtype)
        return int(grown.sum())

    def to_sparse_csr(self):
        """The weight as a torch sparse CSR tensor [n_out, n_in], through which gradients flow back to ``values``."""
        size = (self.out_features, self.in_features)
        return torch.sparse_csr_tensor(self.crow, self.col.to(torch.int64), self.values, size, check_invariants=False)

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, nnz={self.nnz} "
            f"({100 * self.density:.2f} %), bias={self.bias is not None}"
        )

    def __getstate__(self):
        return {**self.__dict__, "_last": None}

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, errors):
        # A pattern brings its own number of connections: values and col take it, so that there is room to copy to.
        col = state_dict.get(prefix + "col")
        if torch.is_tensor(col) and col.dim() == 1 and col.numel() != self.nnz:
            self.col = self.col.new_zeros(col.numel())
            self.values.data = self.values.new_zeros(col.numel())
            self.values.grad = None
        self._last = None
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, errors)
        try:
            _product_of(self.crow, self.col, self.in_features)
        except ValueError as refused:
            errors.append(f"{prefix}crow, {prefix}col: {refused}")


def sparse_linear(x, values, crow, col, bias=None):
    """x W^T + bias for x [..., n_in] and W given in CSR: values [nnz], crow int64 [n_out + 1], col int32 [nnz].

    Differentiable once with respect to x, values and bias; the gradient of W exists on its pattern alone. n_in is that
    of x. The packed orders of a pattern are kept while ``crow`` lives and made anew after crow or col was written to.
    Cost: 2 * batch * nnz operations, and 4 * batch * nnz on the way back; memory beside y: a copy of x until then.
    """
    return _sparse_linear(x, values, crow, col, bias, None)


class _Step:
    """The last batch of a layer and its gradient, as the engine reads them."""

    x = g = None


class _Product(torch.autograd.Function):
    """Of x [batch, n_in], contiguous. Keeps x as the kernels read it, so that the way back need not turn it again."""

    @staticmethod
    def forward(ctx, x, values, bias, product, step):
        exact = x.dtype == torch.float64
        _follow_threads()
        y = torch.empty((x.shape[0], product.shape[0]), dtype=torch.float64 if exact else torch.float32)
        panels = product.forward(_array(values), None if bias is None else _array(bias), _array(x), _array(y))
        kept = x if exact else torch.from_numpy(panels)
        ctx.save_for_backward(values, kept)
        ctx.product, ctx.step, ctx.shape, ctx.has_bias = product, step, x.shape, bias is not None
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        values, kept = ctx.saved_tensors
        inner = torch.float64 if values.dtype == torch.float64 else torch.float32
        g = _contiguous(g).to(inner)
        dvalues, dbias = torch.empty(values.shape, dtype=inner), torch.empty(g.shape[1], dtype=inner)
        dx = torch.empty(ctx.shape, dtype=inner) if ctx.needs_input_grad[0] else None
        _follow_threads()
        ctx.product.backward(
            _array(values), _array(kept), _array(g), _array(dvalues), _array(dbias), None if dx is None else _array(dx)
        )
        if ctx.step is not None and inner == torch.float32:
            ctx.step.x, ctx.step.g = kept.numpy(), g.numpy()
        return dx, dvalues, dbias if ctx.has_bias else None, None, None  # autograd gives them the dtype of their tensor


def _sparse_linear(x, values, crow, col, bias, step):
    for name, tensor in (("x", x), ("values", values), ("bias", bias)):
        if tensor is not None:
            _check(name, tensor)
    if x.dtype != values.dtype and (x.dtype, values.dtype) != (torch.bfloat16, torch.float32):
        raise TypeError(f"x, found dtype {x.dtype} beside values of {values.dtype}, expected the same; convert one")
    if bias is not None and bias.dtype != values.dtype:
        raise TypeError(f"bias, found dtype {bias.dtype} beside values of {values.dtype}, expected the same")
    if x.dim() == 0:
        raise ValueError("x, found no dimension, expected [..., n_in]")
    product = _product_of(crow, col, x.shape[-1])
    rows = math.prod(x.shape[:-1])
    y = _Product.apply(_contiguous(x).view(rows, x.shape[-1]), values, bias, product, step)
    return y.view(*x.shape[:-1], product.shape[0])


_NUMBERS = (torch.float32, torch.bfloat16, torch.float64)
_DTYPES = {"crow": (torch.int64,), "col": (torch.int32,)}


def _named(dtypes):
    return " or ".join(map(str, dtypes))


def _check(name, tensor):
    if not torch.is_tensor(tensor):
        raise TypeError(f"{name}, found {type(tensor).__name__}, expected a torch tensor")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}, found layout {tensor.layout}, expected a dense tensor; to_dense() makes one")
    if not tensor.is_cpu:
        raise TypeError(f"{name}, found device {tensor.device}, expected cpu, where tulle computes; cpu() moves it")
    expected = _DTYPES.get(name, _NUMBERS)
    if tensor.dtype not in expected:
        raise TypeError(f"{name}, found dtype {tensor.dtype}, expected {_named(expected)}")


def _contiguous(tensor):
    global copies
    if tensor.is_contiguous():
        return tensor
    copies += 1
    return tensor.contiguous()


def _array(tensor):
    """NumPy's view of a tensor; of bfloat16, which NumPy and the kernels do not know, a float32 copy."""
    tensor = tensor.detach()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _follow_threads():
    if _core.threads() != torch.get_num_threads():
        _core.set_threads(torch.get_num_threads())


def _product_of(crow, col, n_in):
    """The packed orders of a pattern, made once while nobody writes to it. Raises ValueError for what is none."""
    entry = _products.get(id(crow))
    if entry is not None and entry[0]() is crow and entry[1] is col and entry[2] == (n_in, *_versions(crow, col)):
        return entry[3]
    _check("crow", crow)
    _check("col", col)
    return _remember(crow, col, n_in, _core.SparseProduct(crow.numel() - 1, n_in, _array(crow), _array(col)))


def _remember(crow, col, n_in, product):
    key = id(crow)
    gone = weakref.ref(crow, lambda gone: _products.pop(key) if _products.get(key, (None,))[0] is gone else None)
    _products[key] = gone, col, (n_in, *_versions(crow, col)), product
    return product


def _versions(*tensors):
    return (0 if tensor.is_inference() else tensor._version for tensor in tensors)


def _model(weights, biases, shapes, activation="identity", alpha=0.0, loss="mse", classes=()):
    """The engine's network of such layers: (values, columns, row pointers) or (dense matrix,) each."""
    return _core.model_from_arrays(
        [tuple(_array(part) for part in parts) for parts in weights],
        [_array(bias) for bias in biases],
        shapes,
        activation,
        alpha,
        loss,
        [str(label) for label in classes],
    )


_NOTHING = (torch.nn.Identity, torch.nn.Dropout, torch.nn.Flatten)


def _activation(module):
    """(name in model files, alpha) of a torch module; None if they know no such activation."""
    if isinstance(module, torch.nn.LeakyReLU):
        return "leaky-relu", module.negative_slope
    if isinstance(module, torch.nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu-tanh", 0.0
    names = {torch.nn.ReLU: "relu", torch.nn.Sigmoid: "sigmoid", torch.nn.Tanh: "tanh"}
    return (names[type(module)], 0.0) if type(module) in names else None


def save_safetensors(module, path, loss="cross-entropy", classes=None):
    """Writes a model file that ``tulle`` and any safetensors reader open; whole or not at all. Returns its bytes.

    module: a :class:`SparseLinear`, or a Sequential of such, of ``torch.nn.Linear`` and of one kind of activation
    between them (ReLU, LeakyReLU, GELU, Sigmoid, Tanh); Dropout and Flatten are left out. Weights become float32.
    loss: says what ``tulle predict`` makes of the outputs: softmax of "cross-entropy", sigmoid of "bce", or what they
    are, of "mse". classes: labels of the outputs; None: numbers from 0. Raises ValueError for another kind of module.
    """
    layers, between = [], []
    for part in [module] if isinstance(module, SparseLinear) else module:
        if isinstance(part, (SparseLinear, torch.nn.Linear)):
            layers.append(part)
            between.append(("identity", 0.0))
        elif layers and _activation(part) and between[-1][0] == "identity":
            between[-1] = _activation(part)
        elif not isinstance(part, _NOTHING):
            raise ValueError(f"module, found {type(part).__name__} there, expected layers with an activation between")
    if not layers:
        raise ValueError("module, found no SparseLinear, expected one or more")
    if between[-1][0] != "identity" or len(set(between[:-1])) > 1:
        raise ValueError(f"module, found {[name for name, _ in between]}, expected one activation, and none at the end")
    shapes = [(layer.out_features, layer.in_features) for layer in layers]
    weights = [
        (
            (layer.values.float(), layer.col, layer.crow)
            if isinstance(layer, SparseLinear)
            else (layer.weight.float().contiguous(),)
        )
        for layer in layers
    ]
    biases = [
        torch.zeros(rows) if layer.bias is None else layer.bias.float() for layer, (rows, _) in zip(layers, shapes)
    ]
    if classes is None:
        classes = () if loss == "mse" else range(shapes[-1][0])
    activation, alpha = between[0] if len(layers) > 1 else ("identity", 0.0)
    return _model(weights, biases, shapes, activation, alpha, loss, classes).save(str(path))
