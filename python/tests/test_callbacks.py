"""What listens to a training, and steers it."""

import io
import json
import pickle
import signal

import numpy as np
import pytest
from conftest import write_config

pytest.importorskip("sklearn")
import tulle
from tulle import SMLPNetClassifier, SparseMLPClassifier
from tulle.callbacks import Callback, Checkpoint, EarlyStopping, LearningRateScheduler, MetricsWriter, Progress, TensorBoard


def fit(problem, *callbacks, eval_set=None, **parameters):
    X, y, *_ = problem
    settings = {"hidden": (16,), "max_iter": 6, "random_state": 0, "update_every": "1 epoch", **parameters}
    return SparseMLPClassifier(**settings).fit(X, y, callbacks=callbacks, eval_set=eval_set)


class Recorder(Callback):
    def __init__(self):
        self.heard = []

    def on_train_begin(self, ctx):
        self.heard.append("begin")

    def on_evolve(self, ctx):
        self.heard.append(("evolve", ctx.metrics["layer"]))

    def on_epoch_end(self, ctx):
        self.heard.append(("epoch", ctx.epoch, ctx.step, ctx.nnz))

    def on_train_end(self, ctx):
        self.heard.append("end")


def test_callbacks_hear_everything_in_order(problem):
    recorder = Recorder()
    clf = fit(problem, recorder)
    epochs = [heard for heard in recorder.heard if heard[0] == "epoch"]
    assert recorder.heard[0] == "begin" and recorder.heard[-1] == "end"
    assert [heard[1] for heard in epochs] == [1, 2, 3, 4, 5, 6] and epochs[-1][3] == clf.nnz_
    assert ("evolve", 0) in recorder.heard


def test_listening_changes_no_bit(problem):
    class Batches(Callback):
        count = 0

        def on_batch_end(self, ctx):
            self.count += 1
            assert ctx.batch <= ctx.batches and ctx.step == self.count and np.isfinite(ctx.loss)

    batches = Batches()
    heard = fit(problem, Recorder(), batches)
    assert batches.count == 6 * 5
    assert heard.model_.to_bytes() == fit(problem).model_.to_bytes()


def test_a_callback_may_stop_the_training_after_an_epoch(problem):
    class Stop(Callback):
        def on_epoch_end(self, ctx):
            ctx.stop = ctx.epoch == 2

    assert fit(problem, Stop()).n_iter_ == 2


def test_early_stopping_ends_with_the_best_epoch(problem):
    *_, Xt, yt = problem
    stopping = EarlyStopping(2)
    clf = fit(problem, stopping, eval_set=(Xt, yt), max_iter=200, learning_rate=0.1)
    losses = [record["valid_loss"] for record in clf.history_]
    assert clf.n_iter_ < 200 and stopping.best_epoch_ == 1 + int(np.argmin(losses)) == clf.n_iter_ - 2
    truth = np.clip(clf.predict_proba(Xt)[np.arange(len(yt)), yt], 1e-12, 1)
    assert abs(-np.log(truth).mean() - min(losses)) < 1e-4
    with pytest.raises(ValueError, match="metric, found 'auc', expected one of"):
        fit(problem, EarlyStopping(2, metric="auc"))


def test_the_learning_rate_is_what_a_callback_says(problem):
    clf = fit(problem, LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch)))
    assert np.allclose([record["lr"] for record in clf.history_], [0.01 / (1 + epoch) for epoch in range(6)])
    assert clf.model_.to_bytes() != fit(problem).model_.to_bytes()
    with pytest.raises(ValueError, match="learning_rate"):
        fit(problem, LearningRateScheduler(lambda epoch: -1.0))


@pytest.mark.parametrize("method", ["on_train_begin", "on_batch_end", "on_evolve", "on_epoch_end", "on_train_end"])
def test_what_a_callback_raises_arrives_as_it_is(problem, method):
    class Broken(Callback):
        pass

    def fail(self, ctx):
        raise ZeroDivisionError("by me")

    setattr(Broken, method, fail)
    X, y, Xt, _ = problem
    clf = SparseMLPClassifier(hidden=(16,), max_iter=6, random_state=0, update_every="1 epoch")
    with pytest.raises(ZeroDivisionError, match="by me") as caught:
        clf.fit(X, y, callbacks=[Broken()])
    assert any(entry.name == "fail" for entry in caught.traceback)
    clf.predict(Xt)  # what was learnt until then


class Interrupt(Callback):
    """Ctrl-C at the end of the second epoch."""

    def on_epoch_end(self, ctx):
        if ctx.epoch == 2:
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_leaves_what_was_learnt_until_then(problem):
    X, y, *_ = problem
    images = np.zeros((40, 8, 8), np.uint8)
    images[1::2, :4] = 200
    for estimator, inputs, labels in (
        (SparseMLPClassifier(hidden=(16,), max_iter=6, random_state=0), X, y),
        (SMLPNetClassifier(width=8, depths=(1, 1), patch=2, max_iter=6, batch_size=20, random_state=0), images, np.arange(40) % 2),
    ):
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(inputs, labels, callbacks=[Interrupt()])
        assert estimator.n_iter_ == len(estimator.loss_curve_) == 2 and estimator.nnz_ > 0
        assert len(pickle.loads(pickle.dumps(estimator)).predict(inputs)) == len(labels)


def test_the_context_is_read_only_but_for_two_wishes(problem):
    class Meddler(Callback):
        def on_epoch_end(self, ctx):
            ctx.epoch = 7

    with pytest.raises(AttributeError):
        fit(problem, Meddler())
    with pytest.raises(TypeError, match="callbacks"):
        fit(problem, "progress")


def test_one_callback_needs_no_list(problem, tmp_path):
    X, y, *_ = problem
    recorder = Recorder()
    SparseMLPClassifier(hidden=(4,), max_iter=2).fit(X, y, callbacks=recorder)
    assert recorder.heard[-1] == "end"
    recorder = Recorder()
    tulle.train(write_config(tmp_path, *problem, **{"run.out": str(tmp_path)}), callbacks=recorder)
    assert recorder.heard[-1] == "end"


def test_the_model_of_a_context_is_a_copy(problem, tmp_path):
    kept = []

    class Keep(Callback):
        def on_epoch_end(self, ctx):
            kept.append((ctx.model.weights[0], ctx.model.forward(problem[2])))

    clf = fit(problem, Keep(), Checkpoint(tmp_path / "m-{epoch}.safetensors", every=3))
    assert not np.array_equal(kept[0][0].toarray(), kept[-1][0].toarray())
    assert np.abs(kept[-1][1].sum(axis=1) - 1).max() < 1e-5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m-3.safetensors", "m-6.safetensors"]
    assert SparseMLPClassifier.load(tmp_path / "m-3.safetensors").n_features_in_ == clf.n_features_in_


def test_progress_is_a_line_an_epoch_where_there_is_no_terminal(problem, tmp_path):
    text = io.StringIO()
    fit(problem, Progress(text), MetricsWriter(tmp_path / "metrics.jsonl"))
    lines = text.getvalue().splitlines()
    assert len(lines) == 6 and lines[2].startswith("epoch   3/6  loss") and "\r" not in text.getvalue()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records if record["event"] == "epoch"] == [1, 2, 3, 4, 5, 6]


def test_tensorboard_reads_what_a_training_tells(problem, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    clf = fit(problem, TensorBoard(tmp_path / "tb", histograms=2))
    events = accumulator.EventAccumulator(str(tmp_path / "tb"), size_guidance={"histograms": 0}).Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert np.allclose(losses, clf.loss_curve_) and len(events.Histograms("layer0/weights")) == 3
    assert [event.step for event in events.Scalars("train/loss")] == [record["step"] for record in clf.history_]


def test_tensorboard_shows_what_the_command_line_shows(problem, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = write_config(tmp_path, *problem, **{"log.tensorboard": True, "log.histograms_every": "1 epoch", "run.out": str(tmp_path)})
    tulle.train(config, callbacks=[TensorBoard(tmp_path / "own", histograms=1)])
    engine, callback = (accumulator.EventAccumulator(str(tmp_path / name)).Reload().Tags() for name in ("run/tb", "own"))
    missing = set(engine["scalars"]) - set(callback["scalars"])
    assert {tag.split("/")[1] for tag in missing} == {"explored"}  # what only the engine counts
    assert engine["histograms"] == callback["histograms"] != []
