#include <atomic>

#include "bind.h"
#include "tulle/base/error.h"
#include "tulle/train/recover_run.h"

namespace tulle::python {
namespace {

// Ends a search when somebody presses Ctrl-C. Only asked by the thread that searches.
void look_for_interrupt(std::exception_ptr& raised, std::atomic<bool>& stop) {
  nb::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() == 0) return;
  raised = std::make_exception_ptr(nb::python_error());
  stop = true;
}

// What [recover] describes, on samples in memory or on the task that the config names; with a folder, its
// result is written there. (model or None, record as JSON).
nb::tuple recovered(const Config& config, const std::shared_ptr<Dataset>& data, const std::string& folder) {
  std::shared_ptr<Model> model;
  std::string record;
  std::exception_ptr raised;
  {
    nb::gil_scoped_release release;
    std::atomic<bool> stop{false};
    if (folder.empty() && config.recover.gates != "sequential")
      throw Error(ErrorKind::kConfig, "recover.gates, found '" + config.recover.gates +
                                          "', expected 'sequential': a net with random gates is no model");
    if (!folder.empty()) check_recovery_folder(folder);
    const RecoverTask task = data != nullptr ? data_task(*data, config.recover.bias) : task_of(config);
    const auto look = [&](const RecoverStep&) { look_for_interrupt(raised, stop); };
    if (!folder.empty()) {
      const RunDirectory claimed = RunDirectory::open(folder);
      record = recover_into(config, task, folder, stop, look).dump();
      if (config.recover.gates == "sequential")
        model = std::make_shared<Model>(load_model(folder + "/model.safetensors").model);
    } else {
      Recovery found;
      record = recover_once(config, task, stop, found, look).dump();
      model = std::make_shared<Model>(to_model(task, found.net, static_cast<std::uint64_t>(config.run.seed)));
    }
  }
  if (raised != nullptr) std::rethrow_exception(raised);
  return nb::make_tuple(model != nullptr ? nb::cast(ModelHandle{model}) : nb::none(), record);
}

}  // namespace

void bind_recover(nb::module_& m) {
  m.def("recover", &recovered, nb::arg("config"), nb::arg("data").none(), nb::arg("folder"));
  m.def("recover_methods", [] {
    std::vector<std::pair<std::string, std::string>> rows;
    for (const RecoverMethod& method : recover_methods()) rows.emplace_back(method.name, method.help);
    return rows;
  });
}

}  // namespace tulle::python
