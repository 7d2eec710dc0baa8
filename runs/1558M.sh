#!/usr/bin/env bash
# §2.3: the paper's 1558M model on tokenized WebText. Run it again to go on; set GPUS to the number of cards.
set -euo pipefail
tokens=${1:-tokens} run=${2:-runs/1558M}
fourhorn plan --size 1558M --devices-per-node "${GPUS:-1}"
torchrun --standalone --nproc-per-node "${GPUS:-1}" -m fourhorn.cli.app \
    train "$tokens" "$run" --size 1558M --parallel fsdp
fourhorn evaluate "$run" "results/1558M"
