#!/usr/bin/env bash
# Three hosts on one machine, as network namespaces: all modes over a shaped link, a link that is cut, one that comes back.
#   hosts.sh TULLE [MBIT...]        needs root and iproute2; MBIT (1000) are rates of every host's link
# Prints a Markdown table of milliseconds a step, unshaped and at each rate, and what tests/distributed/simulate.py says
# of them; ends with 1 if a mode fails or a cut link is not noticed. Cleans up after itself.
set -euo pipefail

tulle=$(realpath "$1")
rates=("${@:2}")
[ ${#rates[@]} -gt 0 ] || rates=(1000)
here=$(dirname "$(realpath "$0")")
[ "$(id -u)" -eq 0 ] || { echo "hosts.sh: skipped: needs root" >&2; exit 0; }
command -v ip >/dev/null && command -v tc >/dev/null || { echo "hosts.sh: skipped: needs iproute2" >&2; exit 0; }

prefix=tl$$
bridge=${prefix:0:9}b
work=$(mktemp -d)
chmod 755 "$work"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

clean_up() {
  pkill -9 -f "$work/agent.sh" 2>/dev/null || true
  for i in 1 2 3; do ip netns pids "$prefix$i" 2>/dev/null | xargs -r kill -9 2>/dev/null || true; done
  for i in 1 2 3; do ip netns del "$prefix$i" 2>/dev/null || true; done
  ip link del "$bridge" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT

ip link add "$bridge" type bridge
ip link set "$bridge" up
for i in 1 2 3; do
  ip netns add "$prefix$i"
  ip link add "${prefix:0:9}v$i" type veth peer name eth0 netns "$prefix$i"
  ip link set "${prefix:0:9}v$i" master "$bridge" up
  ip -n "$prefix$i" addr add "10.77.0.$i/24" dev eth0
  ip -n "$prefix$i" link set eth0 up
  ip -n "$prefix$i" link set lo up
done

# Stands in for ssh: the first word is the address.
cat >"$work/agent.sh" <<AGENT
#!/bin/bash
ip=\$1; shift
exec ip netns exec "$prefix\${ip##*.}" unshare -u bash -c "hostname node\${ip##*.}; \$*"
AGENT
chmod 755 "$work/agent.sh"

# shape MBIT: what every host may send; 0: all it can.
shape() {
  for i in 1 2 3; do
    ip netns exec "$prefix$i" tc qdisc del dev eth0 root 2>/dev/null || true
    [ "$1" = 0 ] || ip netns exec "$prefix$i" tc qdisc add dev eth0 root tbf rate "$1mbit" burst 128kb latency 50ms
  done
}

printf '10.77.0.%d slots=1\n' 1 2 3 >"$work/hosts"
mpi=()
for word in --mca plm_rsh_agent "$work/agent.sh" --mca orte_keep_fqdn_hostnames 1 --mca mpi_yield_when_idle 1 \
  --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24; do
  mpi+=("--mpi=$word")
done

# job NAME FLAG...: three ranks, one a host.
job() {
  local name=$1
  shift
  ip netns exec "${prefix}1" unshare -u bash -c 'hostname node1; exec "$@"' job \
    "$tulle" launch --np 3 --hosts "$work/hosts" "${mpi[@]}" --max-restarts 0 -- \
    train "$work/net.toml" --quiet --threads=1 --name="$name" "$@"
}

cat >"$work/net.toml" <<NET
[run]
out = "$work/out"
[data]
format = "fashion-mnist"
max_rows = 12000
[model]
hidden = [1000, 1000, 1000]
[train]
batch_size = 384
epochs = 4
[log]
compare_dense = "none"
report = false
NET

# Milliseconds a step, from the training's metrics, without its first epoch, evaluation and topology events.
step_time() { python3 -c "
import json
epochs = [e for e in map(json.loads, open('$work/out/$1/metrics.jsonl')) if e['event'] == 'epoch']
spent = sum(v for e in epochs[1:] for k, v in e['phase_s'].items() if k not in ('eval', 'evolve'))
print(f'{1000 * spent / (epochs[-1][\"step\"] - epochs[0][\"step\"]):.2f}')"; }

modes=(sync sync-bf16 local-sgd-10 local-sgd-100 wassp wasap)
rows=()
echo "3 hosts, Fashion-MNIST, batch 384 (wasap and wassp: 128 a worker); ms a step"
for mode in "${modes[@]}"; do
  case $mode in
    sync-bf16) flags=(--mode=sync --wire=bf16) ;;
    local-sgd-*) flags=(--mode=local-sgd --local-steps="${mode##*-}") ;;
    was*) flags=(--mode="$mode" --batch-size=128 --phase1=1) ;;
    *) flags=(--mode="$mode") ;;
  esac
  row="| $mode"
  for rate in 0 "${rates[@]}"; do
    # 100 steps an epoch, but where that takes long; an epoch's end is an average of local-sgd too.
    samples=38400
    if [ "$rate" != 0 ] && [ "$rate" -lt 50 ] && [ "$mode" != local-sgd-100 ]; then samples=3840; fi
    shape "$rate"
    job "$mode-$rate" "${flags[@]}" --epochs=3 --max-rows=$samples
    row+=" | $(step_time "$mode-$rate")"
  done
  rows+=("$row |")
done
{
  printf '| mode | unshaped |'
  printf ' %s Mbit/s |' "${rates[@]}"
  printf '\n|---|---|'
  printf -- '---|%.0s' "${rates[@]}"
  printf '\n'
  printf '%s\n' "${rows[@]}"
} | tee "$work/table.md"
echo
python3 "$here/simulate.py" check <"$work/table.md"
echo

shape 0
# A link that is cut: every rank ends, with the code of what may work later, and the checkpoint is whole.
# Epochs are long, so that it is cut amid steps: in an evaluation ranks wait for each other longer.
start=$(date +%s)
job cut --mode=sync --epochs=4000 --max-rows=60000 --timeout=5 --save-every="20 step" 2>"$work/cut.txt" &
pid=$!
until ls "$work"/out/cut/ckpt-* >/dev/null 2>&1; do sleep 0.2; done
ip link set "${prefix:0:9}v2" down
cut=$(date +%s)
code=0
wait "$pid" || code=$?
echo "link cut: exit status $code, $(($(date +%s) - cut)) s after the cut (parallel.timeout = 5 s)"
grep -h "found no message from rank" "$work/cut.txt" | head -1 || true
[ "$code" = 75 ]
[ $(($(date +%s) - cut)) -le 20 ]
"$tulle" inspect "$(ls "$work"/out/cut/ckpt-*.safetensors | tail -1)" >/dev/null
for i in 1 2 3; do ip netns pids "$prefix$i" | xargs -r kill -9 2>/dev/null || true; done
ip link set "${prefix:0:9}v2" up
sleep 5  # until the bridge forwards again

# A link that comes back within the time limit is no fault.
job back --mode=sync --epochs=12 --timeout=30 &
pid=$!
sleep 3
ip link set "${prefix:0:9}v2" down
sleep 2
ip link set "${prefix:0:9}v2" up
wait "$pid"
echo "link away for 2 s: exit status 0"
