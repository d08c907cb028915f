#!/usr/bin/env bash
# Weights and momentum in bfloat16 beside floats, on Fashion-MNIST: 784-1000-1000-1000-10, epsilon 20. The gate: a mean test
# accuracy within 0.3 points of that of floats over 5 seeds.
# Usage: bf16.sh TULLE [EPOCHS] [SEEDS]    (prints each accuracy and the difference; run directories go to ./out)
set -euo pipefail
tulle=$1 epochs=${2:-50} seeds=${3:-5}
for weights in f32 bf16; do
  for seed in $(seq 1 "$seeds"); do
    "$tulle" train --format fashion-mnist --preset published --epsilon 20 --storage compact --set "model.weights=$weights" \
      --epochs "$epochs" --seed "$seed" --compare-dense none --out out/scale --name "fashion-$weights-$seed" --progress none 2>/dev/null |
      awk -v name="$weights $seed" '/^test accuracy/ {sub("%", "", $3); print name, $3}'
  done
done | tee /dev/stderr | awk '{sum[$1] += $3; n[$1]++} END {
  d = sum["bf16"] / n["bf16"] - sum["f32"] / n["f32"]; printf "bf16 - f32: %+.2f points\n", d; exit d < -0.3}'
