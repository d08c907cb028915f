"""What the command line does, from Python: the same engine, keys, files and bits."""

import json
import shutil
import sys
import sysconfig
from pathlib import Path

from . import _core, _config
from .callbacks import Listener
from .errors import MissingInputError
from .model import Model


class RunResult:
    """A finished training: ``path`` (its run directory), ``model``, ``history`` (one record an epoch) and ``result``
    (the table that the command line prints, as a dict)."""

    def __init__(self, path, model_path, history, result, warnings):
        self.path, self.model_path, self.history, self.result = path, model_path, history, result
        self.warnings = warnings

    @property
    def model(self):
        """The trained model, read from its file."""
        from .model import load

        return load(self.model_path)

    def __getitem__(self, name):
        """The figure of this network in one row of the result table, e.g. ``run["test accuracy"]``."""
        for row in self.result["rows"]:
            if row["name"] == name:
                return row["sparse"]
        raise KeyError(name)

    def __repr__(self):
        return f"<tulle run {self.path}: {', '.join(row['name'] + ' ' + row['sparse_text'] for row in self.result['rows'])}>"


def program():
    """The command line tool that came with this package; "" if it is not there."""
    here = Path(__file__).resolve()
    for folder in (Path(sysconfig.get_path("scripts")), Path(_core.__file__).resolve().parents[2]):
        if (folder / "tulle").is_file():
            return str(folder / "tulle")
    return shutil.which("tulle", path=str(here.parent)) or ""


def _prepare(config):
    _core.set_threads(int(config.get("run.threads")))


def train(path=None, settings=None, callbacks=(), resume=None, **keys):
    """``tulle train``: trains in a run directory, with checkpoints, metrics and a report.

    path      a TOML config file, or None
    settings  {"evolve.rule": "rigl", ...} on top of it; keys may also be given by their leaf names as arguments
    resume    a checkpoint file, a run directory, or "auto", as ``--resume``
    Returns a :class:`RunResult`; the model file is byte for byte the command line's. Raises tulle.Error; Ctrl-C
    saves a checkpoint first.
    """
    settings = {**(settings or {}), **keys}
    if path is None and resume not in (None, "auto"):
        folder = Path(resume)
        if not folder.exists():
            raise MissingInputError(f"{resume}: cannot resume: no such file or folder")
        path = (folder if folder.is_dir() else folder.parent) / "config.toml"
        settings.setdefault("run.out", str(path.resolve().parent.parent))
        settings.setdefault("run.name", path.resolve().parent.name)
    config = _config.make(settings, path)
    _prepare(config)
    data = _core.load_dataset(config)
    training = _core.DirectoryTraining(config, data, str(resume or ""))
    listener = Listener(callbacks, int(config.get("train.epochs")), lambda: Model(training.model(), copies=True))
    listener.call("on_train_begin")
    try:
        finished = training.train(listener)
    except KeyboardInterrupt:
        training.record_stop(130)
        raise
    except BaseException:
        training.record_stop(1)
        raise
    listener.call("on_train_end")
    if not finished:
        training.record_stop(0)
    result = json.loads(training.finish(program() if finished else ""))
    for warning in training.warnings:
        print(f"tulle: warning: {warning}", file=sys.stderr)
    return RunResult(training.path, training.model_path, listener.records, result, training.warnings)


def evaluate(model, data=None, **keys):
    """``tulle eval``: loss and metrics of a model (or its file) on a labelled data set.

    ``data``: a file, or "fashion-mnist"; more keys of [data] as arguments (``train_labels=..``, ``format=..``).
    Returns {"loss": .., "accuracy": .., "samples": ..}.
    """
    from .model import load

    if not isinstance(model, Model):
        model = load(model)
    config = _config.make({"data.train": data, **keys})
    _prepare(config)
    return model._handle.evaluate(config)


def recover(path=None, settings=None, folder="", data=None, **keys):
    """``tulle recover``: finds the sparse net behind data.

    Keys of [recover] by their leaf names: ``recover(task="planted", n=5000, d=100, hidden_width=10, nnz=50)``. With a
    folder the result is written there as the command line does. Returns (Model or None, record).
    """
    config = _config.make({**(settings or {}), **{_recover_key(k): v for k, v in keys.items()}}, path)
    _prepare(config)
    handle, record = _core.recover(config, data, str(folder))
    return (Model(handle) if handle is not None else None), json.loads(record)


def _recover_key(key):
    return f"recover.{key}" if f"recover.{key}" in _config.describe() else key


def plan(path=None, settings=None, **keys):
    """``tulle plan``: {"total": bytes, "items": {name: bytes}, "neurons": .., "connections": ..} of a training."""
    config = _config.make({**(settings or {}), **keys}, path)
    _prepare(config)
    return _core.plan(config, _core.load_dataset(config))


def show_config():
    """What this build is: version, instruction sets, threads, dense products, bytes of inputs converted so far."""
    from ._arrays import bytes_copied

    return {
        "version": _core.__version__,
        "instruction_set": _core.instruction_set(),
        "instruction_sets": _core.instruction_sets(),
        "threads": _core.threads(),
        "cores": _core.available_cores(),
        "dense_products": _core.dense_products(),
        "program": program(),
        "bytes_copied": bytes_copied(),
    }


def cpu_info():
    """What the engine sees of the processor."""
    return {name: show_config()[name] for name in ("instruction_set", "instruction_sets", "cores")}
