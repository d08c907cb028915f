#!/usr/bin/env bash
# Runs every fuzz target for some seconds, two at a time, and tells executions and coverage. A finding stays beside its
# target's corpus, and ends this with 1. Usage: run.sh FUZZER SEEDS SECONDS [TARGET...]
set -euo pipefail
fuzzer=$(realpath "$1") seeds=$(realpath "$2") seconds=$3
shift 3
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls "$seeds")  # every target has seeds

one() {
  local target=$1 corpus=$seeds/../corpora/$1
  mkdir -p "$corpus" "$seeds/$target"
  cd "$corpus/.."
  local status=0
  TULLE_FUZZ=$target "$fuzzer" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=65536 -print_final_stats=1 \
    -artifact_prefix="$corpus/finding-" "$corpus" "$seeds/$target" >"$corpus.log" 2>&1 || status=$?
  local runs coverage first
  runs=$(grep -oP 'number_of_executed_units: \K\d+' "$corpus.log" || echo 0)
  first=$(grep -oP 'INITED\s+cov: \K\d+' "$corpus.log" | head -1 || true)
  coverage=$(grep -oP '(INITED|NEW|REDUCE|pulse|DONE)\s+cov: \K\d+' "$corpus.log" | tail -1 || true)
  printf '%-8s %10s executions   coverage %5s, %s of it new\n' "$target" "$runs" "${coverage:-?}" "$((${coverage:-0} - ${first:-0}))"
  if [ "$status" -ne 0 ]; then
    grep -m1 -E 'ERROR|SUMMARY|deadly|timeout' "$corpus.log" || tail -5 "$corpus.log"
    return 1
  fi
}
export -f one
export fuzzer seeds seconds
printf '%s\n' "${targets[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one {}'
