// Trains a small sparse network on four points with nothing but tulle.h.
#include <tulle/tulle.h>

#include <cstdio>

int main() {
  tulle::Config config;
  config.model.hidden = {16};
  config.model.dropout = 0.0;
  config.train.epochs = 400;
  config.train.batch_size = 4;
  config.train.learning_rate = 0.1;
  config.train.weight_decay = 0.0;
  config.topology.distribution = "fixed-fan-in";
  config.topology.fan_in = 2;
  tulle::finish_config(config);

  tulle::Dataset data;  // exclusive or
  data.train.inputs = {.samples = 4, .features = 2, .bytes = {}, .floats = {0, 0, 0, 1, 1, 0, 1, 1}};
  data.train.classes = {0, 1, 1, 0};
  data.class_names = {"equal", "different"};

  tulle::Run run = tulle::start_run(config, data);
  tulle::Observer observer;
  tulle::Signals signals;
  tulle::train(run, data, nullptr, observer, signals);
  const tulle::Evaluation result = tulle::evaluate(run.model, data.train);
  std::printf("accuracy %.2f with %lld connections, tulle %s\n", result.accuracy,
              static_cast<long long>(run.model.network.connections()), tulle::kVersion.data());
  return result.accuracy == 1.0 ? 0 : 1;
}
