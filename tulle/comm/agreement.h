#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "tulle/base/error.h"
#include "tulle/comm/communicator.h"

namespace tulle {

/// A refusal that every rank throws alike: one of them is enough to tell of it.
class AgreedError : public Error {
 public:
  AgreedError(ErrorKind kind, std::string_view what) : Error(kind, what) {}
};

/// Does `work` on every rank, and waits until all are done. If it throws a tulle::Error on any of them, all
/// throw AgreedError, naming the first rank it failed on unless all failed alike. Call it before the first
/// message of what follows: a rank that failed alone would leave the others waiting.
void together(Communicator& comm, const std::function<void()>& work);

/// What must be the same on all ranks: what it is, and a hash of it.
using Item = std::pair<std::string_view, std::uint64_t>;

/// Throws AgreedError of `kind`, naming the rank and the item, unless every rank gave the same hashes.
void agree(Communicator& comm, std::span<const Item> items, ErrorKind kind);

}  // namespace tulle
