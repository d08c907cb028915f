#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tulle/data/dataset.h"

namespace tulle {

/// From the labels of a file to what a network is trained on. `file` stands for it in messages. Numbers are
/// classes only if they are whole ("-1.0" equals "-1").

/// The classes of training labels: the distinct ones, numbers in numeric order, names in the order of their
/// bytes; of sets, the numbers of all labels there are. Throws tulle::Error (kBadData) for a label that is
/// fractional or NaN, and for fewer than two classes.
std::vector<std::string> class_names_of(const RawLabels& labels, const std::string& file);

/// The class of each label, -1 for one that is none of `class_names` if `ignore_unknown`.
/// Throws tulle::Error (kBadData) that names the row of an unknown label otherwise.
std::vector<std::int32_t> classes_of(const RawLabels& labels, const std::vector<std::string>& class_names,
                                     const std::string& file, bool ignore_unknown);

/// Sets of one label each, of `count` there are.
LabelSets sets_of_one(std::vector<std::int32_t> classes, std::int32_t count);

/// Labels as numbers to be met (regression).
/// Throws tulle::Error (kBadData) for names and for what is not finite.
std::vector<float> targets_of(const RawLabels& labels, const std::string& file);

}  // namespace tulle
