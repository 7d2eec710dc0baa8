#!/usr/bin/env bash
# Several nodes: run this on each, with HEAD the first node's address and a run folder that all of them share.
# What differs between nodes (versions, data, clocks, folder) is named before the first step.
set -euo pipefail
tokens=${1:?tokens folder} run=${2:?run folder on shared storage} size=${3:-1558M}
torchrun --nnodes "${NODES:?number of nodes}" --nproc-per-node "${GPUS:-8}" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-endpoint "${HEAD:?address of the first node}:29500" --rdzv-id "$(basename "$run")" \
    -m fourhorn.cli.app train "$tokens" "$run" --size "$size" --parallel fsdp
