#include "tulle/evolve/rule.h"

namespace tulle {
namespace {

using Values = std::pair<std::string_view, std::string_view>;

constexpr Values kRigl[] = {{"evolve.zeta", "0.3"},
                            {"evolve.zeta_schedule", "cosine"},
                            {"evolve.update_every", "100 step"},
                            {"evolve.stop_after", "0.75"}};
constexpr Values kMest[] = {{"evolve.zeta", "0.3"},
                            {"evolve.zeta_schedule", "linear"},
                            {"evolve.grow_init", "zero"},
                            {"evolve.stop_after", "0.75"}};
constexpr Values kSnfs[] = {
    {"evolve.zeta", "0.5"}, {"evolve.zeta_schedule", "cosine"}, {"evolve.stop_after", "0.75"}};

// To add a rule: one line here.
constexpr RuleInfo kRules[] = {
    {"none", "the topology never changes", "", "", ""},
    {"set", "replace the share zeta of the weakest positive and of the weakest negative weights at random",
     "Mocanu et al. 2018", "set", "random"},
    {"set-published",
     "the same with the thresholds of the published code (0 to 3 connections more are replaced)",
     "Curci et al. 2021", "set-published", "random"},
    {"rigl", "replace the weakest weights where the gradient is largest", "Evci et al. 2020", "magnitude",
     "gradient", kRigl},
    {"gse", "the same among cells that a random sample guided by the batch proposes", "Heddes et al. 2024",
     "magnitude", "gse-estimate", kRigl},
    {"snfs", "replace the weakest weights where gradients point the same way step after step",
     "Dettmers and Zettlemoyer 2019", "magnitude", "momentum", kSnfs},
    {"mest", "replace weights that are weak and about to stay so at random", "Yuan et al. 2021", "mest",
     "random", kMest},
    {"granet", "lose connections down to evolve.final_density, and replace as rigl does", "Liu et al. 2021",
     "magnitude", "gradient", kRigl},
};

}  // namespace

std::span<const RuleInfo> rules() { return kRules; }

}  // namespace tulle
