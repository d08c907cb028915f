#pragma once

namespace tulle {

/// Tries shares of a Gauss-Newton step: loss_at(share) is the loss there, keep() is called for each that is
/// lower than all before, so that the last one kept is the best. `loss` becomes its. Returns whether the step
/// was worth another one; false also if no share lowers the loss.
template <class LossAt, class Keep>
bool lower(double& loss, const LossAt& loss_at, const Keep& keep) {
  double lowest = loss;
  for (const double share : {1.0, 0.5, 0.25, 0.1, 0.03}) {
    const double here = loss_at(share);
    if (!(here < lowest)) continue;
    lowest = here;
    keep();
  }
  const bool worth = lowest < loss * (1.0 - 1e-6);
  loss = lowest;
  return worth;
}

}  // namespace tulle
