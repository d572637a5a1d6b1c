#!/usr/bin/env bash
# launch.sh NODES GPUS CPUS COMMAND...   start `python COMMAND` once per GPU, on one node or several.
# The scheduler has given the nodes already (see footprint() in rules/common.smk); this only starts processes.
# GPUS are per node; 0 starts one process per node, on CPUs (gloo). Where Slurm gave another number of GPUs than the
# footprint says, because a site's profile asks for it (gres), that many processes start. Every process gets its share of
# CPUS as threads, and is told its node's number of processes (LOCAL_WORLD_SIZE), over which networks are sharded.
set -euo pipefail
nodes=$1 gpus=$2 cpus=$3
shift 3
if [ "$gpus" -gt 0 ] && [ -n "${SLURM_JOB_ID:-}" ] && [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
    given=${CUDA_VISIBLE_DEVICES//[^,]/}
    gpus=$((${#given} + 1))
fi
per_node=$((gpus > 0 ? gpus : 1))
# Snakemake says the job's cores here; with as many threads in every process they would wait for each other.
export OMP_NUM_THREADS=$((cpus / per_node > 0 ? cpus / per_node : 1))
port=$((20000 + ${SLURM_JOB_ID:-$$} % 20000))
if [ "$nodes" -eq 1 ]; then
    exec python -m torch.distributed.run --nnodes=1 --nproc-per-node="$per_node" \
        --master-addr=127.0.0.1 --master-port="$port" "$@"
fi
if [ -z "${SLURM_JOB_ID:-}" ]; then
    echo "launch.sh: $nodes nodes want a Slurm job (\`snakemake --profile slurm\`); this is none" >&2
    exit 2
fi
# Snakemake's job step keeps little more than SLURM_JOB_ID of Slurm's environment, so Slurm is asked for the nodes.
hosts=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%N)
head=$(scontrol show hostnames "$hosts" | head -n 1)
# A node's name need not be an address; Slurm knows the one that it uses itself.
getent hosts "$head" >/dev/null || head=$(scontrol --oneliner show node "$head" | sed 's/.*NodeAddr=\([^ ]*\).*/\1/')
export nodes per_node head port
gres=${gpus/#0/}
# shellcheck disable=SC2016  # expanded on each node, where SLURM_NODEID is known
exec srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpus-per-task="$cpus" ${gres:+--gres="gpu:$gres"} \
    --kill-on-bad-exit=1 --export=ALL bash -c 'exec python -m torch.distributed.run --nnodes="$nodes" \
        --node-rank="$SLURM_NODEID" --nproc-per-node="$per_node" --master-addr="$head" --master-port="$port" "$@"' _ "$@"
