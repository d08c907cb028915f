"""A trained network: outputs, weights as SciPy matrices, files."""

import contextlib
import os

import numpy as np

from . import _core
from ._arrays import as_f32, as_i32, csr_parts, features, is_sparse, taken
from .errors import ConfigError

FORMATS = {".onnx": "onnx", ".npz": "npz", ".h": "c-header"}


class Model:
    """A network with everything that turns raw data into predictions.

    Made by :func:`tulle.load`, :meth:`from_csr`, or a fitted estimator's ``model_``. Arrays that it hands out share
    memory with the engine, are read-only, and keep it alive; what changes a model changes a copy of its own while
    somebody holds such an array, so a view never changes under its holder.
    """

    def __init__(self, handle, copies=False):
        self._handle = handle
        self._copies = copies  # of a model that is being trained: its arrays change and move
        self._runner = None

    @classmethod
    def from_csr(cls, weights, biases=None, activation="relu", alpha=0.6, loss="cross-entropy", classes=None):
        """A model from SciPy matrices [n_out, n_in], one per layer; a 2-D ndarray makes a dense layer.

        ``biases``: one vector per layer, or None for zeros. ``classes``: labels of the outputs, for the losses
        cross-entropy and bce. Memory: one copy of the arrays. Raises ValueError for rows that are not canonical.
        """
        arrays, shapes = [], []
        for number, W in enumerate(weights):
            if is_sparse(W):
                values, columns, row_ptr, shape = csr_parts(W, f"weights[{number}]")
                arrays.append((values, columns, row_ptr))
            else:
                W = as_f32(W)
                shape = W.shape
                if W.ndim != 2:
                    raise ValueError(f"weights[{number}], found {W.ndim} dimensions, expected 2")
                arrays.append((W,))
            shapes.append(tuple(map(int, shape)))
        if not arrays:
            raise ValueError("weights, found none, expected one matrix a layer")
        if biases is None:
            biases = [np.zeros(shape[0], np.float32) for shape in shapes]
        if len(biases) != len(arrays):
            raise ValueError(f"biases, found {len(biases)}, expected {len(arrays)}, one a layer")
        if classes is None and loss != "mse":
            classes = range(shapes[-1][0])
        names = [str(c) for c in classes] if classes is not None else []
        return cls(
            _core.model_from_arrays(arrays, [as_f32(b) for b in biases], shapes, activation, alpha, loss, names)
        )

    # -- what it computes

    def forward(self, X):
        """Outputs for raw samples, [n, outputs]: probabilities (cross-entropy, bce) or values (mse).

        X: float array [n, features], used where it lies if it is float32 in C order; bytes; or sparse rows, which
        stay sparse.
        """
        X = X if is_sparse(X) else np.asarray(taken(X))
        if is_sparse(X) or X.dtype == np.uint8:
            return self._handle.predict_features(features(X, _core))
        X = as_f32(X)
        if X.ndim != 2:
            raise ValueError(f"X, found {X.ndim} dimensions, expected 2: [samples, features]")
        if self._copies:
            return self._handle.predict_features(features(X, _core))
        if self._runner is None:
            self._runner = _core.Runner(self._handle)
        return self._runner.predict(X)

    def predict(self, X):
        """The most likely class of each sample (its label as text), or the values of a regression."""
        outputs = self.forward(X)
        names = self._handle.class_names
        if not names:
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs
        return np.asarray(names)[outputs.argmax(axis=1)]

    # -- what it is made of

    @property
    def layers(self):
        """One dict a layer: name, shape (n_out, n_in), nnz, sparse, activation, alpha, dropout."""
        return self._handle.layers()

    @property
    def weights(self):
        """One matrix a layer: ``csr_array`` [n_out, n_in], or an ndarray for a dense layer."""
        return [self._matrix(number) for number in range(len(self.layers))]

    @property
    def biases(self):
        """One vector a layer."""
        return [self._own(self._handle.bias(number)) for number in range(len(self.layers))]

    def _own(self, array):
        return array.copy() if self._copies else array

    def _matrix(self, number, writable=False):
        parts = self._handle.weight(number, writable)
        if not isinstance(parts, tuple):
            return self._own(parts)
        values, columns, row_ptr, shape = parts
        if row_ptr.dtype == np.int64:
            raise ValueError(
                f"weights, found layer {number} with {values.size} connections, expected fewer than 2^31: SciPy would "
                f"copy its indices to {8 * values.size} bytes"
            )
        import scipy.sparse

        matrix = scipy.sparse.csr_array((self._own(values), self._own(columns), row_ptr), shape=shape)
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        return matrix

    nnz = property(lambda self: self._handle.nnz, doc="Connections of all layers.")
    density = property(lambda self: self._handle.nnz / self._handle.cells, doc="Share of all cells.")
    n_features = property(lambda self: self._handle.inputs, doc="Features of a sample.")
    n_outputs = property(lambda self: self._handle.outputs, doc="Outputs of a sample.")
    classes = property(lambda self: list(self._handle.class_names), doc="Labels as text; empty for regression.")
    config = property(lambda self: self._handle.config, doc="The keys that decided its training, as TOML.")

    @property
    def nbytes(self):
        """Bytes of the model's file, nearly: 8 a connection, 8 a row, 4 a value of the rest."""
        total = 0
        for layer, bias in zip(self.layers, self.biases):
            rows = layer["shape"][0]
            total += 4 * bias.size + (8 * layer["nnz"] + 8 * (rows + 1) if layer["sparse"] else 4 * layer["nnz"])
        return total

    def __repr__(self):
        sizes = [str(self.n_features), *(str(layer["shape"][0]) for layer in self.layers)]
        return f"<tulle.Model {'-'.join(sizes)}, {self.nnz} connections ({100 * self.density:.2f} %)>"

    # -- what changes it

    def _alone(self):
        """The handle, of a copy if somebody looks at this model's arrays."""
        self._runner = None
        if self._copies:
            raise ValueError("model, found one that is being trained, expected a finished one; copy() it")
        if self._handle.shared():
            self._handle = self._handle.copy()
        return self._handle

    @contextlib.contextmanager
    def edit(self):
        """Within ``with model.edit() as (weights, biases):`` values may be written, in place; patterns may not.

        Raises ValueError at the end if one is not finite. Whatever is raised leaves the model as it was.
        """
        handle = self._alone()
        before = handle.bytes()
        try:
            yield (
                [self._matrix(number, writable=True) for number in range(len(self.layers))],
                [handle.bias(number, True) for number in range(len(self.layers))],
            )
            if not handle.all_finite():
                raise ValueError("edit, found a weight that is not finite, expected finite ones; nothing was changed")
        except BaseException:
            self._handle = _core.parse_model(before, "model")
            raise
        finally:
            self._runner = None  # it may have packed what has changed since

    def prune(self, neurons=None, connections=None, strength="in"):
        """Removes neurons or connections for good; layers become smaller.

        ``neurons``: share of each hidden layer's neurons, the least important first. ``connections``: "magnitude:S",
        "magnitude-layer:S", "nonzero" or "nm:N:M". As ``tulle prune``.
        """
        if neurons is None and connections is None:
            raise ValueError("prune, found neither neurons nor connections, expected one")
        handle = self._alone()
        if connections is not None:
            handle.prune_connections(connections)
        if neurons is not None:
            handle.prune_neurons(float(neurons), strength)
        return self

    def copy(self):
        """Another model, with arrays of its own."""
        return Model(self._handle.copy())

    # -- files

    def save(self, path):
        """Writes a model file that ``tulle`` and any safetensors reader open; whole or not at all. Returns its bytes."""
        return self._handle.save(str(path))

    def export(self, path, format=None, onnx_form="auto", preprocess=True, probabilities=True, int8=False,
               int8_activations=False, name="net", scale="row", gap="auto", X=None, y=None):  # fmt: skip
        """Writes the model for other programs, as ``tulle export`` (docs/exports.md, docs/embedded.md).

        format          "onnx", "npz" or "c-header"; None: as the name ends, ".onnx", ".npz" or ".h"
        onnx_form       "sparse-init", "ell", "coo", or "auto" by the evenness of the rows
        preprocess      the file's model takes raw features; probabilities: it ends with softmax or sigmoid
        int8, int8_activations, name, scale, gap    of a C header; X, y: samples (and labels) that it is compared with
                        the engine on, and that ranges of activations are taken from
        Returns what there is to know, by name: {"bytes": .., ...}. Raises tulle.Error for what a format cannot express.
        """
        if format is None:
            ending = os.path.splitext(path)[1]
            if ending not in FORMATS:
                raise ConfigError(f"{path}: found the ending '{ending}', expected one of {', '.join(FORMATS)}, or format=")
            format = FORMATS[ending]
        options = _core.ExportOptions()
        options.onnx_form, options.preprocess, options.probabilities = onnx_form, preprocess, probabilities
        options.int8, options.int8_activations = int8, int8_activations
        options.name, options.scale, options.gap = name, scale, gap
        if y is not None and X is None:
            raise ValueError("y, found labels without samples, expected X beside them")
        samples = None if X is None else features(X, _core)
        numbers = None
        if y is not None:
            places = {label: number for number, label in enumerate(self.classes)}
            if not places:
                raise ValueError("y, found some, expected none for a regression, of which outputs alone are compared")
            unknown = sorted({str(label) for label in y} - places.keys())
            if unknown:
                raise ValueError(f"y, found labels {unknown[:8]}, expected those of the model, {self.classes[:8]}")
            numbers = as_i32(np.array([places[str(label)] for label in y], np.int32))
        return _core.export_model(self._handle, format, str(path), options, samples, numbers)

    def to_bytes(self):
        """The content of that file."""
        return self._handle.bytes()

    @classmethod
    def from_bytes(cls, content, name="model"):
        """From such bytes, all of it checked. Raises DataError."""
        return cls(_core.parse_model(bytes(content), name))

    def __getstate__(self):
        return self.to_bytes()

    def __setstate__(self, content):
        self.__init__(_core.parse_model(content, "pickle"))


def load(path):
    """A :class:`Model` from a model file or checkpoint. Raises MissingInputError, DataError."""
    return Model(_core.load_model(str(path)))


def export_onnx(model, path, form="auto", **options):
    """``model.export(path, "onnx", onnx_form=form, ...)``."""
    return model.export(path, "onnx", onnx_form=form, **options)


def export_c(model, path, **options):
    """``model.export(path, "c-header", ...)``."""
    return model.export(path, "c-header", **options)


def save(model, path):
    """``model.save(path)``."""
    return model.save(path)
