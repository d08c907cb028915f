#include "bind.h"
#include "tulle/base/parallel.h"
#include "tulle/kernels/gemm.h"
#include "tulle/kernels/targets.h"
#include "tulle/version.h"

namespace tulle::python {

// tulle::Error becomes the class that tulle/errors.py has for its kind.
void bind_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      const nb::object raise = nb::module_::import_("tulle.errors").attr("of_kind");
      const nb::object type = raise(static_cast<int>(error.kind()));
      PyErr_SetString(type.ptr(), error.what());
    }
  });
}

}  // namespace tulle::python

NB_MODULE(_core, m) {
  using namespace tulle;
  using namespace tulle::python;
  m.doc() = "The engine, as tulle's Python modules use it.";
  m.attr("__version__") = std::string(kVersion);
  m.def(
      "set_threads", [](int threads) { set_thread_count(threads); }, nb::arg("threads"));
  m.def("threads", &thread_count);
  m.def("available_cores", &available_cores);
  m.def("instruction_set", [] { return std::string(kernels::current_target()); });
  m.def("instruction_sets", [] {
    const auto targets = kernels::available_targets();
    return std::vector<std::string>(targets.begin(), targets.end());
  });
  m.def("dense_products", [] { return std::string(kernels::gemm_library()); });
  bind_errors(m);
  bind_config(m);
  bind_data(m);
  bind_model(m);
  bind_training(m);
  bind_recover(m);
  bind_sparse(m);
  bind_files(m);
}
