#include <cmath>
#include <string>

#include "tulle/base/parallel.h"
#include "tulle/base/random.h"
#include "tulle/nn/activation.h"

namespace tulle {
namespace {

// S-shaped rectified linear unit, Jin et al. 2016 (arXiv 1512.07030): four trained numbers per neuron.
//   f(z) = t_r + a_r (z - t_r) for z >= t_r;  z between;  t_l + a_l (z - t_l) for z <= t_l;  t_r = t_l +
//   |t_hat|
// Start: t_l = 0, a_l ~ U(0, 1), t_hat ~ U(0, 5), a_r = 1.
class Srelu final : public Activation {
 public:
  explicit Srelu(const ActivationOptions& options)
      : left_threshold_(parameter(options, "t_l")),
        left_slope_(parameter(options, "a_l")),
        distance_(parameter(options, "t_hat")),
        right_slope_(parameter(options, "a_r")) {
    const Random random{.seed = options.seed,
                        .stream = Stream::kValue,
                        .layer = static_cast<std::uint32_t>(options.position),
                        .event = 1};
    for (std::size_t j = 0; j < left_slope_.value.size(); ++j) {
      left_slope_.value[j] = random.uniform(2 * j);
      distance_.value[j] = 5.0f * random.uniform(2 * j + 1);
      right_slope_.value[j] = 1.0f;
    }
  }

  void forward(Panels<const float> z, Panels<float> a) const override {
    for_neurons(z.features, [&](std::size_t j) {
      const Shape<float> shape = shape_of<float>(j);
      for (std::int32_t p = 0; p < z.count(); ++p) {
        const std::int64_t row = p * z.panel_size() + static_cast<std::int64_t>(j) * z.width;
        for (std::int64_t i = row; i < row + z.width; ++i) a.data[i] = shape.value(z.data[i]);
      }
    });
  }

  void backward(Panels<const float> z, Panels<float> grad) override {
    for_neurons(z.features, [&](std::size_t j) {
      const Shape<float> shape = shape_of<float>(j);
      float d_left_threshold = 0, d_left_slope = 0, d_right_threshold = 0, d_right_slope = 0;
      for (std::int32_t p = 0; p < z.count(); ++p) {
        const std::int64_t row = p * z.panel_size() + static_cast<std::int64_t>(j) * z.width;
        for (std::int64_t i = row; i < row + z.width; ++i) {
          const float g = grad.data[i];
          if (z.data[i] >= shape.right) {
            d_right_threshold += g * (1.0f - shape.right_slope);
            d_right_slope += g * (z.data[i] - shape.right);
          } else if (z.data[i] <= shape.left) {
            d_left_threshold += g * (1.0f - shape.left_slope);
            d_left_slope += g * (z.data[i] - shape.left);
          }
          grad.data[i] = g * shape.slope(z.data[i]);
        }
      }
      // t_r = t_l + |t_hat| passes its gradient on to both.
      left_threshold_.gradient[j] = d_left_threshold + d_right_threshold;
      left_slope_.gradient[j] = d_left_slope;
      distance_.gradient[j] = distance_.value[j] < 0.0f ? -d_right_threshold : d_right_threshold;
      right_slope_.gradient[j] = d_right_slope;
    });
  }

  std::vector<Parameter*> parameters() override {
    return {&left_threshold_, &left_slope_, &distance_, &right_slope_};
  }

  double value(double z, std::int32_t neuron) const override {
    return shape_of<double>(static_cast<std::size_t>(neuron)).value(z);
  }
  double slope(double z, std::int32_t neuron) const override {
    return shape_of<double>(static_cast<std::size_t>(neuron)).slope(z);
  }

 private:
  template <class T>
  struct Shape {
    T left, left_slope, right, right_slope;
    T value(T z) const {
      if (z >= right) return right + right_slope * (z - right);
      return z <= left ? left + left_slope * (z - left) : z;
    }
    T slope(T z) const { return z >= right ? right_slope : z <= left ? left_slope : T(1); }
  };

  static Parameter parameter(const ActivationOptions& options, const char* name) {
    return {"layers." + std::to_string(options.position - 2) + ".activation." + name,
            Parameter::Kind::kActivation, static_cast<std::size_t>(options.neurons)};
  }

  template <class T>
  Shape<T> shape_of(std::size_t j) const {
    const T left = left_threshold_.value[j];
    return {left, left_slope_.value[j], left + std::abs(T(distance_.value[j])), right_slope_.value[j]};
  }

  template <class Body>
  static void for_neurons(std::int32_t neurons, const Body& body) {
    parallel_ranges(neurons, 1, [&](Range range) {
      for (std::int64_t j = range.begin; j < range.end; ++j) body(static_cast<std::size_t>(j));
    });
  }

  Parameter left_threshold_, left_slope_, distance_, right_slope_;
};

}  // namespace

std::unique_ptr<Activation> make_srelu(const ActivationOptions& options) {
  return std::make_unique<Srelu>(options);
}

}  // namespace tulle
