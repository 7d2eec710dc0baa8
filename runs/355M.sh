#!/usr/bin/env bash
# §2.3: the paper's 355M model on tokenized WebText. Run it again to go on; set GPUS to the number of cards.
set -euo pipefail
tokens=${1:-tokens} run=${2:-runs/355M}
fourhorn plan --size 355M --devices-per-node "${GPUS:-1}"
torchrun --standalone --nproc-per-node "${GPUS:-1}" -m fourhorn.cli.app \
    train "$tokens" "$run" --size 355M
fourhorn evaluate "$run" "results/355M"
