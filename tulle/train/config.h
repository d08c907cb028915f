#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tulle {

/// Everything that describes a training run. A key exists once: a member here and a line in the table of
/// config_keys.cpp; the TOML file, the flags, `tulle list config` and the effective config are made from that
/// table.
struct Config {
  struct Run {
    std::string name = "run";
    std::string out = "out";
    std::int64_t seed = 1;
    std::int64_t threads = 0;
    std::string storage = "auto";
    std::string memory_limit = "auto";
    std::string spill;
    std::string preset = "none";
  } run;
  struct Data {
    std::string format = "auto";
    std::string train, train_labels, test, test_labels;
    double valid_fraction = 0.0;
    std::string scale = "standard";
    std::string sep = "auto";
    std::string header = "auto";
    std::string label_column = "last";
    std::string task = "classes";
    std::string arrays = "auto";
    std::string index_base = "auto";
    std::int64_t features = 0;
    std::string duplicates = "error";
    std::int64_t max_rows = 0;
    std::string nan = "error";
    bool ignore_unknown_labels = false;
    std::vector<std::string> augment;
    std::int64_t resize = 0;
    std::string bad_images = "error";
    std::string decode = "early";
    std::string scratch;
  } data;
  struct Synthetic {
    std::int64_t classes = 2;
    std::int64_t informative = 64;
    std::int64_t redundant = 64;
    std::int64_t clusters = 2;
    double separation = 1.0;
    double flip = 0.01;
    std::int64_t samples = 10000;
    std::int64_t test_samples = 2000;
  } synthetic;
  struct Model {
    std::string kind = "mlp";
    std::vector<std::int64_t> hidden{1000, 1000, 1000};
    std::string activation = "all-relu";
    double alpha = 0.6;
    double dropout = 0.3;
    std::string loss = "cross-entropy";
    std::string dtype = "f32";
    std::string weights = "f32";
    std::string variant = "none";
    std::int64_t image_size = 0;
    bool pad_input = false;
    bool strict_size = false;
    std::int64_t patch = 4;
    std::int64_t width = 64;
    std::vector<std::int64_t> depths{2, 2, 2};
    std::int64_t expansion = 3;
    double drop_path = 0.0;
    bool recompute = false;
    std::vector<std::string> mix{"identity", "rows", "columns"};
  } model;
  struct Topology {
    std::string distribution = "epsilon";
    double epsilon = 20.0;
    double density = 0.1;
    std::int64_t fan_in = 16;
    std::vector<std::int64_t> budgets;
    std::vector<std::int64_t> dense_layers;
    std::string pattern = "random";
    double rewire = 0.1;
    std::int64_t window = 0;
    double window_share = 0.9;
    std::string repair_isolated = "none";
    std::string numbering = "drawn";
    std::string weight_init = "he-uniform";
    std::string fan = "dense";
  } topology;
  struct Train {
    std::string start_from;
    std::int64_t epochs = 20;
    std::int64_t batch_size = 128;
    std::string last_batch = "keep";
    std::string optimizer = "set-sgd";
    bool nesterov = false;
    double learning_rate = 0.01;
    std::string schedule = "constant";
    double warmup_epochs = 0.0;
    double minimum_rate = 0.0;
    std::vector<std::int64_t> milestones;
    double gamma = 0.1;
    double momentum = 0.9;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double weight_decay = 0.0002;
    double label_smoothing = 0.0;
    std::int64_t mse_factor = 1;
    double ce_clip = 0.0;
    std::string class_weights = "none";
    double ema_decay = 0.0;
    double clip_norm = 0.0;
    double clip_value = 0.0;
    std::int64_t plateau_patience = 5;
    std::int64_t early_stopping = 0;
  } train;
  struct Evolve {
    std::string rule = "set";
    std::string drop = "rule";
    std::string grow = "rule";
    double zeta = 0.3;
    std::string zeta_schedule = "constant";
    std::string grow_init = "auto";
    std::string update_every = "1 epoch";
    double stop_after = 1.0;
    double final_density = 0.0;
    double density_until = 0.5;
    std::string scope = "layer";
    std::string redistribute = "none";
    std::int64_t min_links = 1;
    std::int64_t min_fan_in = 0;
    bool chain_removal = false;
    bool regrow_dropped = true;
    double max_density = 1.0;
    bool evolve_dense = false;
    double soft_beta = 1.0;
    double mest_gamma = 0.0;
    double drop_below = 0.001;
    double gse_candidates = 1.0;
    std::int64_t momentum_steps = 10;
    std::int64_t stable_events = 0;
    double stable_share = 0.9;
    std::int64_t grow_max_cells = std::int64_t{1} << 36;
    double importance_percentile = 0.0;
    std::string importance_form = "eliminate";
    std::string importance_strength = "in";
    std::int64_t importance_start = 200;
    std::string importance_every = "20 epoch";
    double min_neurons = 1.0;
    bool cascade = true;
    std::string fold = "none";
  } evolve;
  struct Parallel {
    std::string mode = "none";
    std::int64_t ranks = 1;
    std::string transport = "auto";
    double timeout = 60.0;
    std::int64_t virtual_shards = 0;
    bool shard_momentum = false;
    std::string wire = "f32";
    std::string lr_scale = "auto";
    double phase1 = 0.7;
    std::string order = "arrival";
    std::int64_t max_staleness = -1;
    bool staleness_lr = false;
    std::string shard = "shuffled";
    bool phase2_evolve = true;
    std::string resparsify = "magnitude";
    std::int64_t local_steps = 100;
    double outer_rate = 0.7;
    double outer_momentum = 0.9;
  } parallel;
  struct Recover {
    std::string task = "planted";
    std::string method = "strong";
    std::int64_t n = 5000;
    std::int64_t d = 100;
    std::int64_t hidden_width = 10;
    std::int64_t nnz = 50;
    std::int64_t hidden_layers = 1;
    std::int64_t steps = 0;
    std::int64_t batch = 0;
    std::int64_t starts = 0;
    double tolerance = 1e-9;
    double time_limit = 0.0;
    std::string signs = "auto";
    std::string gates = "sequential";
    bool bias = false;
    std::int64_t outputs = 1;
    std::string planted_signs = "positive";
    bool published = false;
    std::string imp = "fair";
    std::string select = "auto";
    std::int64_t workspace = 32;
    std::string start_from;
    std::string image;
    std::int64_t sample = 0;
    std::int64_t crop = 0;
    std::string coordinates = "unit";
    double sigma = 0.0;
    std::int64_t frequencies = 750;
  } recover;
  struct Checkpoint {
    std::string save_every = "5 min";
    std::int64_t keep = 2;
    std::string background = "auto";
    std::string best = "valid_loss";
  } checkpoint;
  struct Log {
    std::string progress = "auto";
    bool report = true;
    bool tensorboard = false;
    std::string histograms_every = "5 epoch";
    bool input_links = false;
    std::string compare_dense = "timing";
    double dense_learning_rate = 0.0;
  } log;

  std::set<std::string> given;  // names of keys the user set; presets leave them alone
};

/// One key: where its value lives, what it may be, what it means.
struct KeyInfo {
  using Field = std::variant<bool*, std::int64_t*, double*, std::string*, std::vector<std::int64_t>*,
                             std::vector<std::string>*>;

  std::string_view name;  // "train.batch_size"
  Field (*field)(Config&);
  std::string_view help;
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool open_maximum = false;                        // the maximum itself is not allowed
  std::vector<std::string> (*choices)() = nullptr;  // allowed texts; null: any
  bool path = false;                                // relative to the config file

  std::string_view leaf() const { return name.substr(name.find('.') + 1); }
};

std::span<const KeyInfo> config_keys();

/// Keys that a verb reads, by the beginnings of their names.
using Sections = std::span<const std::string_view>;
inline constexpr std::string_view kTrainSections[] = {"run.",        "data.",  "synthetic.", "model.",
                                                      "topology.",   "train.", "evolve.",    "parallel.",
                                                      "checkpoint.", "log."};
/// data.task is for the config file: --task is recover.task.
inline constexpr std::string_view kRecoverSections[] = {
    "run.",     "data.format",  "data.train",        "data.test",   "data.scale",
    "data.sep", "data.header",  "data.label_column", "data.arrays", "data.max_rows",
    "data.nan", "data.scratch", "log.progress",      "recover."};
bool in_sections(std::string_view key, Sections sections);

/// Throws tulle::Error (kConfig) if the value of `key` is out of its range or not among its choices.
void check_config_value(const KeyInfo& key, Config& config);

/// The value of a key as TOML text.
std::string config_value(const KeyInfo& key, const Config& config);

struct PresetInfo {
  std::string_view name;
  std::string_view help;
  std::span<const std::pair<std::string_view, std::string_view>> values;  // key, TOML text
};

std::span<const PresetInfo> presets();

/// Reads a TOML file into `config`. Throws tulle::Error: kMissingInput, or kConfig with FILE:LINE for syntax,
/// unknown keys (with the nearest known one), wrong types and values out of range.
void read_config_file(Config& config, const std::string& path);
/// The same for text; `base` is the folder that paths are relative to.
void read_config_text(Config& config, std::string_view text, const std::string& name,
                      const std::string& base);

/// Sets one key from text, as a flag or --set does: TOML, but strings need no quotes and lists no brackets.
/// Throws std::invalid_argument for an unknown key or text of the wrong type, tulle::Error (kConfig) for a
/// value out of range.
void set_config_value(Config& config, std::string_view key, std::string_view text);

/// Applies run.preset to the keys the user did not give, then checks what no single key can tell.
/// Throws tulle::Error (kConfig).
void finish_config(Config& config);

/// The keys of these sections with their values, as a TOML file that reproduces the run from any folder;
/// `heading` lines become comments.
std::string effective_config(const Config& config, const std::vector<std::string>& heading,
                             Sections sections = kTrainSections);

/// Whether trained weights depend on the key. Names, paths, threads, checkpoints, the log and recovery do not
/// count.
bool changes_result(const KeyInfo& key);
/// The keys that change the result, as TOML: what a model file keeps of its training.
std::string learning_config(const Config& config);

/// "3 epoch", "100 step", "5 min", "never".
struct Interval {
  enum class Unit { kNever, kEpoch, kStep, kMinute } unit = Unit::kNever;
  double count = 0;
};
/// Throws tulle::Error (kConfig) naming `key`.
Interval parse_interval(std::string_view key, std::string_view text);

}  // namespace tulle
