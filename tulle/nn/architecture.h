#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tulle/comm/communicator.h"
#include "tulle/nn/layer.h"

namespace tulle {

/// A network made ready to run forward again and again (nn/inference.h asks for it).
class Runner {
 public:
  virtual ~Runner() = default;
  /// The outputs for x; the view is valid until the next call.
  virtual Panels<const float> forward(Panels<const float> x) = 0;
};

/// An array of a model under the name and shape that model files give it.
struct NamedArray {
  std::string name;
  std::vector<std::int64_t> shape;
  AlignedVector<float>* values = nullptr;
};

/// What training measures beside its parameters (running means and variances), and its average over the steps
/// (train.ema_decay).
struct Statistic {
  std::string name;
  AlignedVector<float>* value = nullptr;
  AlignedVector<float>* average = nullptr;
};

/// How layers are put together where they do not simply follow each other: image models (vision/). The
/// Network owns the layers, the architecture everything between them. Layers that belong to it may be dense
/// or sparse; what they multiply is the architecture's business.
class Architecture {
 public:
  virtual ~Architecture() = default;

  virtual std::int32_t inputs() const = 0;
  virtual std::int32_t outputs() const = 0;
  /// Trained arrays that belong to no layer.
  virtual std::vector<Parameter*> parameters() = 0;
  /// The same, and what training keeps beside them (running statistics), as files have them.
  virtual std::vector<NamedArray> arrays() = 0;
  virtual std::vector<Statistic> statistics() = 0;
  /// Weights that are in no layer.
  virtual std::int64_t other_weights() const = 0;

  /// Whether layer l reads what layer l - 1 makes, through activated(), and nothing else does: such neurons
  /// can go.
  virtual bool follows(std::size_t l) const = 0;
  virtual double activated(double z) const = 0;

  /// The same with copies of its arrays over other layers, dense or sparse, of the same sizes but for neurons
  /// that went.
  virtual std::unique_ptr<Architecture> over(std::span<Layer* const> layers) const = 0;

  /// From now on batches are parts of a batch that the ranks of `comm` share: every rank calls forward() and
  /// backward() alike, with a sample or more, and what is measured over the batch is measured over all of it.
  /// Null: batches are whole again.
  virtual void share_batches(Communicator* comm) = 0;

  /// See Network. `x` must stay alive until backward() is done.
  virtual Panels<const float> forward(const Pass& pass, Panels<const float> x) = 0;
  virtual Panels<float> output_gradient() = 0;
  virtual void backward() = 0;

  /// See Network.
  virtual void keep_errors(bool keep) = 0;
  /// What sparse layer l was given, and the errors of what it made, in the last backward(), if they were
  /// kept: of the last part of the batch, if it goes through in parts.
  virtual Panels<const float> layer_inputs(std::size_t l) = 0;
  virtual Panels<const float> errors(std::size_t l) = 0;

  /// Refers to the architecture and its layers, which must stay as they are while it runs. Throws
  /// std::invalid_argument for a precision that the kind does not have.
  virtual std::unique_ptr<Runner> make_runner(Precision precision) = 0;
};

}  // namespace tulle
