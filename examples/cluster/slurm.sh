#!/bin/bash
# sbatch examples/cluster/slurm.sh CONFIG.toml [FLAG...]: one rank a node, its cores as threads. A job that is requeued, or
# runs out of time and is submitted again, goes on where it stopped.
#SBATCH --job-name=tulle
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output=%x-%j.log
set -euo pipefail

config=${1:?usage: sbatch slurm.sh CONFIG.toml [FLAG...]}
srun --mpi=pmix --cpus-per-task="${SLURM_CPUS_PER_TASK}" \
  tulle train "$config" --resume=auto --threads="${SLURM_CPUS_PER_TASK}" --progress=line "${@:2}"
