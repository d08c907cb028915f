"""Truly sparse neural networks: only the connections that exist are stored and computed.

    from tulle import SparseMLPClassifier
    clf = SparseMLPClassifier(hidden=(1000, 1000), density=0.05).fit(X, y)

The engine, its config keys and its files are the command line's. Importing this takes NumPy alone; SciPy,
scikit-learn and PyTorch are imported by what needs them.
"""

import importlib

from ._core import __version__

# What is found where; loaded when it is first asked for.
_WHERE = {
    "SparseMLPClassifier": "mlp",
    "SparseMLPRegressor": "mlp",
    "SparseRecovery": "recovery",
    "SMLPNetClassifier": "images",
    "Model": "model",
    "load": "model",
    "save": "model",
    "export_onnx": "model",
    "export_c": "model",
    "train": "_run",
    "evaluate": "_run",
    "recover": "_run",
    "plan": "_run",
    "show_config": "_run",
    "cpu_info": "_run",
    "Error": "errors",
}
_MODULES = ("callbacks", "data", "errors", "sparse", "torch")

__all__ = ["__version__", *_WHERE]


def __getattr__(name):
    if name in _WHERE:
        value = getattr(importlib.import_module("." + _WHERE[name], __name__), name)
    elif name in _MODULES:
        value = importlib.import_module("." + name, __name__)
    else:
        raise AttributeError(f"module 'tulle' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_WHERE, *_MODULES})
