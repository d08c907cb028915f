#include "tulle/report/result.h"

#include <fmt/format.h>

#include "tulle/kernels/gemm.h"

namespace tulle {

ResultRecord result_record(const Outcome& sparse, const Outcome* dense) {
  ResultRecord record;
  // smaller: how many times smaller the sparse figure is; a factor below 1 is told as what it is.
  const auto factor = [](double ours, double theirs, std::string_view good, std::string_view bad) {
    if (ours <= 0.0 || theirs <= 0.0) return std::string();
    const double times = theirs / ours;
    return fmt::format("{:.1f} x {}", times, times >= 1.0 ? good : bad);
  };
  const auto add = [&](const std::string& name, double Outcome::*number, const auto& text,
                       std::string_view good = "", std::string_view bad = "") {
    if (sparse.*number == Outcome::kUnknown) return;
    ResultRow row{.name = name,
                  .sparse = sparse.*number,
                  .dense = {},
                  .sparse_text = text(sparse.*number),
                  .dense_text = "",
                  .factor = ""};
    if (dense != nullptr && dense->*number == Outcome::kUnknown) row.dense_text = "-";
    if (dense != nullptr && dense->*number != Outcome::kUnknown) {
      row.dense = dense->*number;
      row.dense_text = text(dense->*number);
      if (!good.empty()) row.factor = factor(sparse.*number, dense->*number, good, bad);
    }
    record.rows.push_back(std::move(row));
  };
  const auto percent = [](double share) { return fmt::format("{:.2f} %", 100.0 * share); };
  const auto bytes = [](double count) { return bytes_text(static_cast<std::int64_t>(count)); };
  add("test accuracy", &Outcome::accuracy, percent);
  add("loss", &Outcome::loss, [](double loss) { return fmt::format("{:.4f}", loss); });
  add(
      "connections", &Outcome::nnz, [](double count) { return fmt::format("{:.0f}", count); }, "fewer",
      "(more)");
  add("density", &Outcome::density, percent);
  add(
      "training seconds", &Outcome::seconds, [](double s) { return fmt::format("{:.1f} s", s); }, "faster",
      "(slower)");
  add(
      "seconds per batch", &Outcome::seconds_per_batch,
      [](double s) { return fmt::format("{:.3f} ms", 1e3 * s); }, "faster", "(slower)");
  add("model file", &Outcome::file_bytes, bytes, "smaller", "(larger)");
  add("peak memory", &Outcome::training_bytes, bytes, "smaller", "(larger)");
  record.note = "peak memory: of the process while training, beyond the data";
  if (dense != nullptr)
    record.note +=
        fmt::format("; dense: by {}, in a process of its own{}", kernels::gemm_library(),
                    dense->loss == Outcome::kUnknown ? ", a few batches only, seconds extrapolated" : "");
  return record;
}

std::string bytes_text(std::int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes >= 1000000000) return fmt::format("{:.2f} GB", value * 1e-9);
  if (bytes >= 1000000) return fmt::format("{:.2f} MB", value * 1e-6);
  return fmt::format("{:.1f} kB", value * 1e-3);
}

}  // namespace tulle
