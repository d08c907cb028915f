"""What the estimators share once there is a model: epochs under callbacks, what was learnt, files and pickles."""

from . import _core
from ._sklearn import check_is_fitted
from .callbacks import Listener, Progress, listed
from .model import Model


class Fitted:
    """An estimator with a ``model_``. One that learns in epochs has ``_config_`` and ``_training``."""

    # -- training

    def _begin(self, data):
        """A training from the start, as ``_config_`` says."""
        self._training = _core.Training(self._config_, data)
        self.loss_curve_, self.validation_scores_, self.history_ = [], [], []

    def _train(self, data, epochs, callbacks, until=None):
        """Epochs up to `until` of `epochs`. Whatever ends them, Ctrl-C too, what was learnt until then is ``model_``."""
        callbacks = listed(callbacks)
        if self.verbose and not any(isinstance(callback, Progress) for callback in callbacks):
            callbacks.append(Progress())
        training = self._training
        listener = Listener(callbacks, epochs, lambda: Model(training.model(), copies=True))
        self.__dict__.pop("model_", None)  # only who looks at its arrays makes the training take a copy
        try:
            listener.call("on_train_begin")
            training.train(data, epochs, until or epochs, listener)
            listener.call("on_train_end")
        finally:
            self._finish(listener.records)
        return self

    def _finish(self, records):
        self.model_ = Model(self._training.model())
        self.history_ += records
        self.loss_curve_ += [record["train_loss"] for record in records]
        self.validation_scores_ += [
            record["valid_acc"] if record.get("valid_acc") is not None else -record["valid_loss"]
            for record in records
            if record.get("valid_loss") is not None
        ]
        self.n_iter_ = max(int(self._training.epoch), 1)

    # -- what was learnt

    def _model(self):
        check_is_fitted(self, "model_")
        return self.model_

    @property
    def weights_(self):
        """One ``csr_array`` [n_out, n_in] a layer (an ndarray where the layer is dense), sharing the engine's memory."""
        return self._model().weights

    @property
    def biases_(self):
        return self._model().biases

    @property
    def nnz_(self):
        return self._model().nnz

    @property
    def density_(self):
        return self._model().density

    @property
    def config_(self):
        """The effective config as TOML: with ``tulle train`` and the same data it gives the same model."""
        self._model()
        return self._config_.text()

    # -- files

    def save(self, path):
        """Writes the model as a file that ``tulle`` opens."""
        return self._model().save(path)

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_training", None)  # a pickle predicts; training goes on from fit
        config = state.pop("_config_", None)
        if config is not None:
            state["_config_text"] = config.text()
        return state

    def __setstate__(self, state):
        text = state.pop("_config_text", None)
        super().__setstate__(state)
        if text is not None:
            self._config_ = _core.Config()
            self._config_.read_text(text)
