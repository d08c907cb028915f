#!/usr/bin/env bash
# A net of a million neurons and logistic regression with five strengths of L2 on the same synthetic samples, the same epochs.
# Usage: learns.sh TULLE [EPOCHS] [RATE of the net]    (prints test loss and accuracy; run directories go to ./out)
set -euo pipefail
tulle=$1 epochs=${2:-2} rate=${3:-1e-5}
folder=$(dirname "$0")
told() { awk -v name="$1" '/^(test accuracy|loss) / {printf "%s %s   ", (NR ? $0 : ""), ""} END {print name}' | tr -s ' '; }
for l2 in 0 0.0001 0.001 0.01 0.1; do
  "$tulle" train "$folder/learns.toml" --set model.hidden=[] --epsilon 20 --epochs "$epochs" --optimizer adamw --learning-rate 1e-4 \
    --weight-decay "$l2" --out out/scale --name "logistic-$l2" --progress none 2>/dev/null | told "logistic, L2 $l2"
done
"$tulle" train "$folder/learns.toml" --epochs "$epochs" --learning-rate "$rate" --out out/scale --name net --progress none 2>/dev/null |
  told "65536-500k-500k-2"
