#include "tulle/kernels/targets.h"

#include <hwy/targets.h>

#include <algorithm>
#include <cstdlib>
#include <span>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"

namespace tulle::kernels {
namespace {

struct Target {
  std::string_view name;
  std::int64_t bits;
  int width;  // samples per panel: 8 accumulators of this instruction set
};

// To add an instruction set: one line here.
constexpr Target kTargets[] = {
    {"avx512_dl", HWY_AVX3_DL, 128},  //
    {"avx512", HWY_AVX3, 128},        //
    {"avx2", HWY_AVX2, 64},           //
    {"sse4", HWY_SSE4, 32},           //
    {"ssse3", HWY_SSSE3, 32},         //
    {"scalar", HWY_STATIC_TARGET, 16},
};

// What the processor has, whatever is forced at the moment.
std::int64_t processor_targets() {
  static const std::int64_t found = [] {
    hwy::SetSupportedTargetsForTest(0);
    return hwy::SupportedTargets();
  }();
  return found;
}

bool available(const Target& target) {
  return (target.bits & HWY_TARGETS) != 0 && (target.bits & (processor_targets() | HWY_STATIC_TARGET)) != 0;
}

const Target* g_forced = nullptr;

void apply(const Target* target) {
  g_forced = target;
  const std::int64_t all = processor_targets();
  hwy::SetSupportedTargetsForTest(target == nullptr ? all : target->bits);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

const Target& find(std::string_view name) {
  for (const Target& target : kTargets)
    if (target.name == name && available(target)) return target;
  throw unknown_name("TULLE_ISA", name, available_targets());
}

// What the environment asks for; null: nothing.
const Target* environment_target() {
  const char* wanted = std::getenv("TULLE_ISA");
  return wanted == nullptr || *wanted == '\0' ? nullptr : &find(wanted);
}

const Target& current() {
  // The environment is read once, before the first kernel choice; force_target() overrides it.
  static const bool environment_read = [] {
    if (g_forced == nullptr) apply(environment_target());
    return true;
  }();
  (void)environment_read;
  if (g_forced != nullptr) return *g_forced;
  for (const Target& target : kTargets)
    if (available(target)) return target;
  return kTargets[std::size(kTargets) - 1];
}

}  // namespace

std::vector<std::string> available_targets() {
  std::vector<std::string> names;
  for (const Target& target : kTargets)
    if (available(target)) names.emplace_back(target.name);
  return names;
}

void force_target(std::string_view name) { apply(name.empty() ? environment_target() : &find(name)); }

std::string current_target() { return std::string(current().name); }

int panel_width(std::int64_t batch, int least) {
  int width = std::max(current().width, least);
  while (width > least && width / 2 >= batch) width /= 2;
  return width;
}

}  // namespace tulle::kernels
