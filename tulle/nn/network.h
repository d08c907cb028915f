#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "tulle/nn/architecture.h"
#include "tulle/nn/bf16_panels.h"
#include "tulle/nn/layer.h"
#include "tulle/nn/spread.h"

namespace tulle {

/// Layers with the activations and gradients between them: in order, or as an Architecture puts them
/// together. Layers and kernels see Panels; the caller turns samples into Panels once at the input
/// (data/loader.h) and reads the outputs sample by sample.
class Network {
 public:
  Network() = default;
  /// Throws std::invalid_argument if the layers do not chain.
  explicit Network(std::vector<std::unique_ptr<Layer>> layers);
  /// Layers that `architecture` uses as it likes.
  Network(std::vector<std::unique_ptr<Layer>> layers, std::unique_ptr<Architecture> architecture)
      : layers_(std::move(layers)), architecture_(std::move(architecture)) {}

  /// A part of a network whose neurons are spread over ranks: of each layer the neurons that `spread` says.
  Network(std::vector<std::unique_ptr<Layer>> layers, std::unique_ptr<Spread> spread);

  /// The layers put together as in `like`, whose arrays are copied.
  Network(std::vector<std::unique_ptr<Layer>> layers, const Network& like);

  /// What puts the layers together; null: they follow each other.
  Architecture* architecture() const { return architecture_.get(); }

  /// What joins the parts of a network that is spread over ranks; null: all of it is here. Numbers of neurons
  /// and connections below are those of the whole network; layers, parameters(), activations() and errors()
  /// are the part's.
  Spread* spread() const { return spread_.get(); }
  RowShare row_share(std::size_t l) const { return spread_ ? spread_->row_share(l) : RowShare{}; }

  std::int32_t inputs() const { return architecture_ ? architecture_->inputs() : layers_.front()->inputs(); }
  std::int32_t outputs() const {
    return architecture_ ? architecture_->outputs() : outputs(layers_.size() - 1);
  }
  std::int32_t outputs(std::size_t l) const {
    return spread_ ? spread_->layer(l).neurons : layers_[l]->outputs();
  }
  std::size_t size() const { return layers_.size(); }
  /// Whether layer l reads the neurons of layer l - 1, and nothing else does.
  bool follows(std::size_t l) const {
    return l > 0 && l < size() && (architecture_ == nullptr || architecture_->follows(l));
  }
  Layer& layer(std::size_t l) { return *layers_[l]; }
  const Layer& layer(std::size_t l) const { return *layers_[l]; }
  std::vector<Parameter*> parameters();

  /// Connections that exist, and that could exist: weights of layers and of the architecture, without biases
  /// and norms.
  std::int64_t connections() const;
  std::int64_t connections(std::size_t l) const {
    return spread_ ? spread_->layer(l).connections : layers_[l]->connections();
  }
  std::uint64_t cells() const;
  /// Cells of layer l before any neuron was removed, and the key in them of a cell of the layer as it is. Of
  /// a part, keys count from its first cell.
  std::uint64_t original_cells(std::size_t l) const;
  std::uint64_t original_key(std::size_t l, std::uint64_t key) const;
  /// The other way round; nothing if one of the cell's neurons was removed. Cost: O(log neurons).
  std::optional<std::uint64_t> current_key(std::size_t l, std::uint64_t original) const;
  double density() const { return static_cast<double>(connections()) / static_cast<double>(cells()); }

  /// Samples per panel for batches of `batch`: what the instruction set likes and every layer takes.
  int panel_width(std::int64_t batch) const;
  /// Of the last forward(): that wide, what there is holds a panel. 16 before the first.
  int last_panel_width() const { return input_.width; }
  /// The outputs for x; the view is valid until the next call. x must stay alive until backward() is done.
  Panels<const float> forward(const Pass& pass, Panels<const float> x);
  /// Whether forward() takes sparse samples as they are.
  bool takes_sparse() const { return architecture_ == nullptr && layers_.front()->takes_sparse(); }
  /// The same for sparse samples, which layer_inputs(0) then cannot show. Throws std::logic_error unless
  /// takes_sparse().
  Panels<const float> forward(const Pass& pass, const SparseBatch& x);
  /// What layer l made in the last forward(); valid until the next call. Where activations are kept in
  /// bfloat16 a copy, which takes memory of its own.
  Panels<const float> activations(std::size_t l) {
    return is_rounded(l) ? Panels<const float>(widened(rounded(l), widened_)) : floats(l);
  }
  /// What layer l was given in the last forward(), whose x must still be alive.
  Panels<const float> layer_inputs(std::size_t l) {
    if (architecture_) return architecture_->layer_inputs(l);
    return l == 0 ? input_ : activations(l - 1);
  }
  /// Whether backward() leaves the errors of every layer behind, for rules that look at them; off at first,
  /// to be said before output_gradient(). Memory: one array of the batch's activations more.
  void keep_errors(bool keep) {
    keep_errors_ = keep;
    if (architecture_) architecture_->keep_errors(keep);
  }
  /// dL/dz of layer l in the last backward(), of the mean loss; valid until the next forward() if errors were
  /// kept. Of layers that gate their errors (Layer::gates_errors()) it is dL/da, before their derivative.
  Panels<const float> errors(std::size_t l) {
    return architecture_ ? architecture_->errors(l) : Panels<const float>(gradient_of(l));
  }

  /// Memory of the right shape for the gradient of the last outputs.
  Panels<float> output_gradient();
  /// From dL/doutput in output_gradient(): fills the gradients of all parameters. As soon as those of a layer
  /// of a chain are complete, layer_done(its number) is called, last layer first.
  void backward(const std::function<void(std::size_t)>& layer_done = nullptr);

 private:
  Panels<const float> forward_from(std::size_t first, const Pass& pass, Panels<const float> x);
  Panels<const float> forward_rounded(const Pass& pass, Panels<const float> x);
  // Whether what layer l makes is kept in bfloat16: all but the outputs, of compact layers that ask for it.
  bool is_rounded(std::size_t l) const { return rounds_ && l + 1 < layers_.size(); }
  Panels<float> floats(std::size_t l) {
    return activations_[l].view(layers_[l]->outputs(), input_.batch, input_.width);
  }
  Panels<std::uint16_t> rounded(std::size_t l) {
    return rounded_[l].view(layers_[l]->outputs(), input_.batch, input_.width);
  }
  void backward_of_part(const std::function<void(std::size_t)>& layer_done);
  Panels<float> gradient_of(std::size_t l) {
    return gradients_[keep_errors_ ? l : l % 2].view(layers_[l]->outputs(), input_.batch, input_.width);
  }

  std::vector<std::unique_ptr<Layer>> layers_;
  std::unique_ptr<Architecture> architecture_;
  std::unique_ptr<Spread> spread_;
  PanelBuffer output_gradient_;  // of all outputs, where they are spread
  bool rounds_ = false;
  std::vector<PanelBuffer> activations_;  // output of each layer, here
  std::vector<Bf16PanelBuffer> rounded_;  // or here
  PanelBuffer widened_;
  // dL/dz of each layer, or of the layer at work and the one below in turn.
  std::vector<PanelBuffer> gradients_;
  bool keep_errors_ = false;
  Panels<const float> input_;  // without data where samples were sparse
  const SparseBatch* sparse_input_ = nullptr;
};

}  // namespace tulle
