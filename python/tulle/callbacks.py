"""What may listen to a training, and steer it.

>>> from tulle.callbacks import EarlyStopping, Progress
>>> clf.fit(X, y, eval_set=(Xv, yv), callbacks=[EarlyStopping(5), Progress()])

The interpreter's lock is taken once an epoch, for events and batches where a callback overrides their method, and
about 20 times a second to look for Ctrl-C. What a callback raises stops the training, after a checkpoint where there
is a run directory, and arrives unchanged.
"""

import json
import math
import sys
import time
from pathlib import Path

from . import _core


class Context:
    """Where a training stands. Read-only but for two: ``ctx.stop = True`` and ``ctx.learning_rate = rate``."""

    def __init__(self, epochs, model):
        self._model = model
        self._set = {"stop": False, "learning_rate": None}
        self._see(epochs=epochs, epoch=0, step=0, batch=0, batches=0, loss=math.nan, metrics={}, nnz=0, density=0.0, seconds=0.0)

    def _see(self, **seen):
        for name, value in seen.items():
            object.__setattr__(self, "_" + name, value)

    epochs = property(lambda self: self._epochs, doc="Epochs that the training was asked for.")
    epoch = property(lambda self: self._epoch, doc="Epochs done; within a batch callback: the one at work, from 1.")
    step = property(lambda self: self._step, doc="Optimizer steps taken.")
    batch = property(lambda self: self._batch, doc="Batches of this epoch that are done.")
    batches = property(lambda self: self._batches, doc="Batches of this epoch.")
    loss = property(lambda self: self._loss, doc="Mean training loss of this epoch so far.")
    metrics = property(lambda self: self._metrics, doc="The epoch's record, as in metrics.jsonl, or the event's.")
    nnz = property(lambda self: self._nnz, doc="Connections.")
    density = property(lambda self: self._density, doc="Share of all cells that are connections.")
    seconds = property(lambda self: self._seconds, doc="Training time so far.")
    model = property(lambda self: self._model(), doc="The model as it is now; its arrays are copies.")

    @property
    def stop(self):
        """True ends the training: after this epoch, or in a batch callback after this batch."""
        return self._set["stop"]

    @stop.setter
    def stop(self, value):
        self._set["stop"] = bool(value)

    @property
    def learning_rate(self):
        """Of the next steps, in place of what the schedule says; None: the schedule's."""
        return self._set["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, value):
        if value is not None and not (value > 0.0 and math.isfinite(value)):
            raise ValueError(f"learning_rate, found {value}, expected a number above 0")
        self._set["learning_rate"] = value


class Callback:
    """Base: override what you want to hear of."""

    def on_train_begin(self, ctx):
        """Before the first step."""

    def on_batch_end(self, ctx):
        """After each batch. Costs the interpreter's lock each time, so it is called only where it is overridden."""

    def on_evolve(self, ctx):
        """After the topology of one layer changed; ``ctx.metrics`` is the event's record."""

    def on_epoch_end(self, ctx):
        """After each epoch, its evaluation and its topology event."""

    def on_train_end(self, ctx):
        """When the training is over, however it ended, unless something was raised."""


class EarlyStopping(Callback):
    """Ends a training when `metric` has not become better by more than `min_delta` for `patience` epochs.

    With validation data the result is the model of the epoch with the best validation loss, as always.
    """

    def __init__(self, patience=5, metric="valid_loss", min_delta=0.0, mode="auto"):
        if mode == "auto":
            mode = "max" if metric.endswith("acc") else "min"
        self.patience, self.metric, self.min_delta, self.mode = patience, metric, min_delta, mode

    def on_train_begin(self, ctx):
        self.best_, self.best_epoch_ = None, 0

    def on_epoch_end(self, ctx):
        value = ctx.metrics.get(self.metric)
        if value is None:
            known = sorted(name for name, v in ctx.metrics.items() if isinstance(v, (int, float)))
            raise ValueError(f"EarlyStopping: metric, found '{self.metric}', expected one of {', '.join(known)}")
        better = self.best_ is None or (
            value < self.best_ - self.min_delta if self.mode == "min" else value > self.best_ + self.min_delta
        )
        if better:
            self.best_, self.best_epoch_ = value, ctx.epoch
        elif ctx.epoch - self.best_epoch_ >= self.patience:
            ctx.stop = True


class LearningRateScheduler(Callback):
    """The learning rate of each epoch from `rate(epoch)`, epochs counted from 0."""

    def __init__(self, rate):
        self.rate = rate

    def on_train_begin(self, ctx):
        ctx.learning_rate = self.rate(0)

    def on_epoch_end(self, ctx):
        ctx.learning_rate = self.rate(ctx.epoch)


class Checkpoint(Callback):
    """Saves the model to `path` every `every` epochs; "{epoch}" in the path becomes the number of the epoch."""

    def __init__(self, path, every=1):
        self.path, self.every = str(path), every

    def on_epoch_end(self, ctx):
        if ctx.epoch % self.every == 0:
            ctx.model.save(self.path.replace("{epoch}", str(ctx.epoch)))


class MetricsWriter(Callback):
    """Appends the record of each epoch and event to a file, one JSON object a line."""

    def __init__(self, path):
        self.path = Path(path)

    def _write(self, ctx):
        with self.path.open("a") as file:
            file.write(json.dumps(ctx.metrics) + "\n")

    on_epoch_end = _write
    on_evolve = _write


class TensorBoard(Callback):
    """Writes event files to `folder` for ``tensorboard --logdir``, as `log.tensorboard` does: loss, metrics, connections and
    speed of each epoch, and every `histograms` epochs (0: never) weights and degrees of each layer."""

    def __init__(self, folder, histograms=0):
        self.folder, self.histograms = str(folder), histograms

    def on_train_begin(self, ctx):
        self._log = _core.TensorBoardLog(self.folder, ctx.step)

    def on_epoch_end(self, ctx):
        due = self.histograms and ctx.epoch % self.histograms == 0
        self._log.write(ctx._record, ctx.model._handle if due else None)

    def __getstate__(self):
        return {"folder": self.folder, "histograms": self.histograms}


class Progress(Callback):
    """A line of text an epoch: redrawn on a terminal and in a notebook, a line each elsewhere."""

    def __init__(self, file=None):
        self.file = file

    def on_train_begin(self, ctx):
        self._out = self.file or sys.stderr
        self._redraw = getattr(self._out, "isatty", lambda: False)()

    def on_epoch_end(self, ctx):
        parts = [f"epoch {ctx.epoch:>3}/{ctx.epochs}", f"loss {ctx.metrics['train_loss']:.4f}"]
        for name, label in (("valid_acc", "valid"), ("test_acc", "test"), ("train_acc", "train")):
            if ctx.metrics.get(name) is not None:
                parts.append(f"{label} {100 * ctx.metrics[name]:.2f} %")
                break
        parts.append(f"nnz {ctx.nnz} ({100 * ctx.density:.2f} %)")
        parts.append(f"{ctx.metrics.get('conn_per_s', 0) * 1e-6:.0f} M conn/s")
        text = "  ".join(parts)
        print("\r" + text + "\x1b[K" if self._redraw else text, end="" if self._redraw else "\n", file=self._out, flush=True)

    def on_train_end(self, ctx):
        if self._redraw:
            print(file=self._out, flush=True)


def listed(callbacks):
    """A list of them; one alone needs none around it."""
    return [callbacks] if hasattr(callbacks, "on_epoch_end") else list(callbacks)


class Listener:
    """What the engine tells; hands it on to the callbacks. Not for users."""

    def __init__(self, callbacks, epochs, model):
        callbacks = listed(callbacks)
        for callback in callbacks:
            if not hasattr(callback, "on_epoch_end"):
                raise TypeError(f"callbacks, found a {type(callback).__name__}, expected tulle.callbacks.Callback")
        self.callbacks = callbacks
        self.context = Context(epochs, model)
        self.hears_batches = any(_overrides(callback, "on_batch_end") for callback in self.callbacks)
        self.hears_events = any(_overrides(callback, "on_evolve") for callback in self.callbacks)
        self.records = []
        self._began = time.monotonic()

    @property
    def stop(self):
        return self.context.stop

    @property
    def learning_rate(self):
        return self.context.learning_rate

    def call(self, name):
        for callback in self.callbacks:
            method = getattr(callback, name, None)
            if method is not None:
                method(self.context)

    def on_batch(self, epoch, batch, batches, loss):
        self.context._see(epoch=epoch, step=self.context.step + 1, batch=batch, batches=batches, loss=loss, seconds=self._seconds())
        self.call("on_batch_end")

    def on_epoch(self, text, record):
        """True: a callback wants no more epochs. The epoch's record as text, and as the engine has it."""
        metrics = json.loads(text)
        self.records.append(metrics)
        self.context._see(
            epoch=metrics["epoch"], step=metrics["step"], metrics=metrics, nnz=metrics["nnz"], record=record,
            density=metrics.get("density", 0.0), loss=metrics.get("train_loss"), seconds=self._seconds(),
        )  # fmt: skip
        self.call("on_epoch_end")
        return self.context.stop

    def on_evolve(self, text):
        self.context._see(metrics=json.loads(text))
        self.call("on_evolve")

    def _seconds(self):
        return time.monotonic() - self._began


def _overrides(callback, name):
    return getattr(type(callback), name, None) not in (None, getattr(Callback, name))
