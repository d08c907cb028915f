#!/usr/bin/env bash
# What each part of the block is worth: Fashion-MNIST at 8 x 8 tokens, the same epochs and recipe for all.
# Usage: ablation.sh TULLE [SEEDS] [EPOCHS]    (prints one line a net; run directories go to ./out)
set -euo pipefail
tulle=$1 seeds=${2:-1..3} epochs=${3:-8}
run() {
  local name=$1
  shift
  "$tulle" train --preset smlp --format fashion-mnist --augment hflip,shift:0.1 --rule none --epochs "$epochs" \
    --seed "$seeds" --name "ablation-$name" --compare-dense none --progress none "$@" 2>/dev/null |
    awk -v name="$name" '/test accuracy/ {print name, $0}'
}
sizes=(--image-size 32 --patch 4 --width 32 --depths 2,2,2)
run whole "${sizes[@]}"
run without-rows "${sizes[@]}" --mix identity,columns
run without-columns "${sizes[@]}" --mix identity,rows
run without-identity "${sizes[@]}" --mix rows,columns
run identity-alone "${sizes[@]}" --mix identity
run one-stage --image-size 32 --patch 4 --width 32 --depths 6  # as many multiplications as the pyramid
