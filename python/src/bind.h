#pragma once

// What the files of the binding share. The binding is thin: it takes arrays exactly as the engine wants them
// (float32, int32, int64, C order; nothing is converted here, tulle/_arrays.py does that in the open) and
// hands out views that keep their owner alive.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "tulle/tulle.h"

namespace tulle::python {

namespace nb = nanobind;

/// Read-only input arrays.
template <class T>
using Array1 = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Array2 = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class T>
std::span<const T> span_of(const Array1<T>& array) {
  return {array.data(), array.shape(0)};
}

/// A read-only NumPy array over memory of `owner`, which it keeps alive; no copy.
template <class T, class Owner>
nb::object view(std::span<const T> values, const std::shared_ptr<Owner>& owner,
                std::vector<std::size_t> shape = {}) {
  if (shape.empty()) shape = {values.size()};
  nb::capsule keeper(new std::shared_ptr<Owner>(owner),
                     [](void* p) noexcept { delete static_cast<std::shared_ptr<Owner>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, const T>(values.data(), shape.size(), shape.data(), keeper),
                  nb::rv_policy::reference);
}

/// A NumPy array that owns `values`.
template <class T, class Container>
nb::object owned(Container values, std::vector<std::size_t> shape = {}) {
  auto holder = std::make_unique<Container>(std::move(values));
  if (shape.empty()) shape = {holder->size()};
  T* const data = holder->data();
  nb::capsule keeper(holder.release(), [](void* p) noexcept { delete static_cast<Container*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, T>(data, shape.size(), shape.data(), keeper),
                  nb::rv_policy::reference);
}

/// A model that several Python objects and arrays may look at. Nobody changes it while they do: what changes
/// a model takes a copy first if it is shared.
struct ModelHandle {
  std::shared_ptr<Model> model;
  /// Held while the network computes, as it does so in memory of its own. Let go of the interpreter's lock
  /// before.
  std::shared_ptr<std::mutex> computing = std::make_shared<std::mutex>();
};

void bind_errors(nb::module_& m);
void bind_config(nb::module_& m);
void bind_data(nb::module_& m);
void bind_model(nb::module_& m);
void bind_training(nb::module_& m);
void bind_recover(nb::module_& m);
void bind_sparse(nb::module_& m);
void bind_files(nb::module_& m);

}  // namespace tulle::python
