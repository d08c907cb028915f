#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "tulle/base/panels.h"
#include "tulle/base/parallel.h"
#include "tulle/comm/communicator.h"
#include "tulle/sparse/row_share.h"

namespace tulle {

/// Which of several ranks' parts of a network one is.
struct Share {
  int rank = 0, ranks = 1;
};

/// What joins the parts of a network whose neurons are spread over ranks, layer by layer in contiguous
/// ranges: each has the connections into its own neurons, their biases, what the optimizer keeps of them, and
/// their activations. Ranges are cut evenly by neurons, not by what they have at the time: every row of a
/// drawn topology has as many connections as any other, but for chance, and a training that goes on from a
/// checkpoint has the same ranges again.
///
/// Forward, the outputs of a layer are gathered by all ranks, and each sums its own rows as one rank would:
/// the same bits. Backward, each adds up the errors that its rows have for all inputs, and the owners sum
/// these in the order of ranks; weights of a rank's rows are nobody else's business. Whole activations are
/// not kept, but gathered once more on the way back: memory falls with the number of ranks.
/// Memory beside the part: two arrays of the widest layer's neurons, for activations, or errors from all
/// ranks, and for the errors that the own rows make. Source: row model-parallel training,
/// docs/distributed.md.
class Spread {
 public:
  struct LayerInfo {
    std::int32_t neurons = 0;      // of all ranks
    std::int64_t connections = 0;  // of all ranks
    std::int32_t grain = 1;        // ranges are cut at multiples of it
  };

  Spread(const Share& share, std::vector<LayerInfo> layers) : share_(share), layers_(std::move(layers)) {}

  const Share& share() const { return share_; }
  const LayerInfo& layer(std::size_t l) const { return layers_[l]; }
  /// After a topology event.
  void set_connections(std::size_t l, std::int64_t connections) { layers_[l].connections = connections; }
  /// Neurons of layer l that rank `rank` has.
  Range neurons_of(std::size_t l, int rank) const;
  Range own_neurons(std::size_t l) const { return neurons_of(l, share_.rank); }

  /// Before anything below; `comm` must outlive it.
  void connect(Communicator& comm) { comm_ = &comm; }
  Communicator& comm() const { return *comm_; }
  RowShare row_share(std::size_t l) const;

  /// What all ranks made of layer l, from the own neurons'; valid until the next call for another layer but
  /// the last. Every rank calls it.
  Panels<const float> gather(std::size_t l, Panels<const float> own);
  /// The same of the last forward pass, on the way back: what is still there is not gathered again.
  Panels<const float> gather_again(std::size_t l, Panels<const float> own);
  /// Memory for the errors of all of layer l's neurons, as far as one rank's rows make them.
  Panels<float> partial(std::size_t l, std::int32_t batch, int width);
  /// own = the own neurons' part of the sum of all ranks' `partial`, added in the order of ranks. What was
  /// gathered is gone then.
  void sum(std::size_t l, Panels<const float> partial, Panels<float> own);

 private:
  struct Message {
    int peer;
    std::unique_ptr<Communicator::Transfer> transfer;
  };
  void send(int peer, std::span<const float> values);
  void receive(int peer, std::span<float> values);
  void wait();

  Share share_;
  std::vector<LayerInfo> layers_;
  Communicator* comm_ = nullptr;
  PanelBuffer gathered_, outputs_, partial_;
  std::optional<std::size_t> held_;  // the layer in gathered_
  std::vector<Message> messages_;
};

}  // namespace tulle
