#include <atomic>
#include <chrono>
#include <exception>
#include <limits>

#include "bind.h"
#include "tulle/base/clock.h"
#include "tulle/report/metrics.h"
#include "tulle/train/dense_run.h"
#include "tulle/train/experiment.h"
#include "tulle/train/plan.h"

namespace tulle::python {
namespace {

// Takes what the engine tells to Python. The lock of the interpreter is taken for that alone, and about 20
// times a second to see whether somebody pressed Ctrl-C. What Python raises ends the training after a
// checkpoint and is thrown when the engine is through.
class PythonObserver final : public Observer {
 public:
  PythonObserver(const nb::object& listener, Signals& signals, std::int64_t until)
      : listener_(listener),
        signals_(signals),
        hears_batches_(nb::cast<bool>(listener.attr("hears_batches"))),
        hears_events_(nb::cast<bool>(listener.attr("hears_events"))),
        until_(until) {
    take_rate();
  }

  void on_batch(const Batch& batch) override {
    if (!hears_batches_ && since_look_.seconds() < kLookSeconds) return;
    since_look_ = Clock();
    with_python([&] {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      if (hears_batches_) listener_.attr("on_batch")(batch.epoch, batch.batch, batch.batches, batch.loss);
      if (nb::cast<bool>(listener_.attr("stop"))) signals_.stop = true;
      take_rate();
    });
  }
  bool on_epoch(const EpochRecord& record) override {
    with_python([&] {
      content_ =
          nb::cast<bool>(listener_.attr("on_epoch")(to_json(record), record)) || record.epoch >= until_;
      take_rate();
    });
    return !signals_.stop && !content_;
  }
  bool is_content() const override { return content_; }
  void on_evolve(const EvolveRecord& record) override {
    if (!hears_events_) return;
    with_python([&] { listener_.attr("on_evolve")(to_json(record)); });
  }
  double learning_rate(double scheduled) override { return rate_ > 0.0 ? rate_ : scheduled; }

  /// To be called when the training is through.
  void throw_what_was_raised() const {
    if (raised_ != nullptr) std::rethrow_exception(raised_);
  }

 private:
  static constexpr double kLookSeconds = 0.05;

  template <class Body>
  void with_python(const Body& body) {
    if (raised_ != nullptr) return;
    nb::gil_scoped_acquire acquire;
    try {
      body();
    } catch (...) {
      raised_ = std::current_exception();
      signals_.stop = true;
    }
  }

  // What a callback set in its context.
  void take_rate() {
    const nb::object rate = listener_.attr("learning_rate");
    rate_ = rate.is_none() ? 0.0 : nb::cast<double>(rate);
  }

  const nb::object& listener_;
  Signals& signals_;
  bool hears_batches_, hears_events_;
  std::int64_t until_;  // the last epoch that is wanted
  Clock since_look_;
  double rate_ = 0.0;     // 0: as scheduled
  bool content_ = false;  // no more epochs are wanted
  std::exception_ptr raised_;
};

// The model of a run as others may use it: itself, or as floats what it keeps in bfloat16.
ModelHandle model_of(const std::shared_ptr<void>& owner, Model& model) {
  for (const Parameter* parameter : model.network.parameters())
    if (parameter->is_bf16())
      return {std::make_shared<Model>(std::move(parse_model(model_bytes(model), "memory").model))};
  return {std::shared_ptr<Model>(owner, &model)};
}

constexpr std::int64_t kNoEnd = std::numeric_limits<std::int64_t>::max();

// Lets `train(observer, signals)` run, at most until that epoch; true if it came to its end.
template <class Train>
bool observed(const nb::object& listener, std::int64_t until, const Train& train) {
  Signals signals;
  PythonObserver observer(listener, signals, until);
  Ending ending;
  {
    nb::gil_scoped_release release;
    ending = train(observer, signals);
  }
  observer.throw_what_was_raised();
  return ending == Ending::kFinished;
}

// A training in memory: what the estimators' fit and partial_fit are.
class Training {
 public:
  Training(const Config& config, const std::shared_ptr<Dataset>& data)
      : run_(std::make_shared<Run>(start_run(config, *data))) {}

  // Trains until `until` of `epochs` epochs in all are done: what counts from the end counts from `epochs`.
  // Each call looks for the best epoch and for patience anew, and scales its samples as the first one did.
  bool train(const std::shared_ptr<Dataset>& data, std::int64_t epochs, std::int64_t until,
             const nb::object& listener) {
    own();
    run_->config.train.epochs = epochs;
    ValidationState& seen = run_->state.validation;
    seen.best_loss = std::numeric_limits<double>::max();
    seen.best_loss_epoch = run_->state.epoch;
    seen.best_epoch = 0;
    data->scaling = run_->model.scaling;
    return observed(listener, until, [&](Observer& observer, Signals& signals) {
      return tulle::train(*run_, *data, nullptr, observer, signals);
    });
  }

  ModelHandle model() const { return model_of(run_, run_->model); }
  const TrainingState& state() const { return run_->state; }

 private:
  // A run of its own, if somebody looks at what it has made so far.
  void own() {
    if (run_.use_count() == 1) return;
    nb::gil_scoped_release release;
    const Storage storage = is_compact(run_->model.network) ? Storage::kCompact : Storage::kFast;
    LoadedModel copy = parse_model(model_bytes(run_->model, &run_->state), "memory", storage,
                                   run_->config.model.weights == "bf16");
    run_ = std::make_shared<Run>(
        Run{.config = run_->config, .model = std::move(copy.model), .state = std::move(*copy.state)});
  }

  std::shared_ptr<Run> run_;
};

// A training in its run directory: what the command line runs.
class DirectoryTraining {
 public:
  DirectoryTraining(const Config& config, std::shared_ptr<Dataset> data, const std::string& resume)
      : parts_(std::make_shared<Parts>(config, std::move(data))) {
    nb::gil_scoped_release release;
    Start start;
    if (!resume.empty()) start = find_start(resume, parts_->config, warnings_);
    parts_->experiment.emplace(parts_->config, *parts_->data, std::move(start));
  }

  bool train(const nb::object& listener) {
    return observed(listener, kNoEnd, [&](Observer& observer, Signals& signals) {
      return experiment().train(observer, signals);
    });
  }
  std::string finish(const std::string& program) {
    nb::gil_scoped_release release;
    const std::string& mode = parts_->config.log.compare_dense;
    const std::atomic<bool> never{false};
    return to_json(experiment().finish([&](std::int64_t steps) -> std::optional<Outcome> {
      if (mode == "none" || program.empty()) return std::nullopt;
      try {
        return run_dense(program, experiment().path(), mode, experiment().run().model.network.inputs(), steps,
                         never);
      } catch (const std::exception& error) {  // the result must not be lost for a comparison
        warnings_.push_back(std::string("no dense comparison: ") + error.what());
        return std::nullopt;
      }
    }));
  }
  Experiment& experiment() { return *parts_->experiment; }
  ModelHandle model() { return model_of(parts_, experiment().run().model); }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  struct Parts {
    Parts(const Config& config_of, std::shared_ptr<Dataset> data_of)
        : config(config_of), data(std::move(data_of)) {}
    Config config;
    std::shared_ptr<Dataset> data;
    std::optional<Experiment> experiment;  // looks at both
  };
  std::shared_ptr<Parts> parts_;
  std::vector<std::string> warnings_;
};

nb::dict plan_of(const Config& config, const std::shared_ptr<Dataset>& data) {
  const Plan plan = make_plan(config, *data);
  nb::dict items;
  for (const Plan::Item& item : plan.items) items[item.name.c_str()] = item.bytes;
  nb::dict out;
  out["total"] = plan.total();
  out["items"] = items;
  out["neurons"] = plan.neurons;
  out["connections"] = plan.connections;
  out["limit"] = memory_limit(config, plan);
  out["step_seconds"] = predicted_step_seconds(config, *data, plan);
  return out;
}

}  // namespace

void bind_training(nb::module_& m) {
  nb::class_<EpochRecord>(m, "EpochRecord");  // what a callback hands back to the engine
  m.def("plan", &plan_of, nb::arg("config"), nb::arg("data"));
  nb::class_<Training>(m, "Training")
      .def(nb::init<const Config&, const std::shared_ptr<Dataset>&>(), nb::arg("config"), nb::arg("data"))
      .def("train", &Training::train, nb::arg("data"), nb::arg("epochs"), nb::arg("until"),
           nb::arg("listener"))
      .def("model", &Training::model)
      .def_prop_ro("epoch", [](const Training& training) { return training.state().epoch; })
      .def_prop_ro("step", [](const Training& training) { return training.state().step; })
      .def_prop_ro("seconds", [](const Training& training) { return training.state().seconds; })
      .def_prop_ro("best_epoch",
                   [](const Training& training) { return training.state().validation.best_epoch; });
  nb::class_<DirectoryTraining>(m, "DirectoryTraining")
      .def(nb::init<const Config&, std::shared_ptr<Dataset>, const std::string&>(), nb::arg("config"),
           nb::arg("data"), nb::arg("resume"))
      .def("train", &DirectoryTraining::train, nb::arg("listener"))
      .def("finish", &DirectoryTraining::finish, nb::arg("program"))
      .def("record_stop", [](DirectoryTraining& t, int code) { t.experiment().record_stop(code); })
      .def_prop_ro("path", [](DirectoryTraining& t) { return t.experiment().path(); })
      .def_prop_ro("model_path", [](DirectoryTraining& t) { return t.experiment().model_path(); })
      .def_prop_ro("epoch", [](DirectoryTraining& t) { return t.experiment().run().state.epoch; })
      .def_prop_ro("step", [](DirectoryTraining& t) { return t.experiment().run().state.step; })
      .def("model", &DirectoryTraining::model)
      .def_prop_ro("warnings", &DirectoryTraining::warnings);
}

}  // namespace tulle::python
