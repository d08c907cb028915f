#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tulle/checkpoint/model_file.h"

namespace tulle {

/// What save_model() would make of a network that is spread over ranks (nn/spread.h), byte for byte: all of
/// them call it alike, and each writes its part of the file (part_file.h). `path` and what is no array of the
/// network are rank 0's. Nothing is written, and nothing returned, where the ranks share no such folder.
/// Throws AgreedError on all ranks if one cannot write.
std::optional<std::int64_t> save_parts(const std::string& path, Model& model, const TrainingState* state,
                                       FileOps& files = real_file_ops());

}  // namespace tulle
