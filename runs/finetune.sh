#!/usr/bin/env bash
# §5: fine-tune a released model on your own text, then let it write.
set -euo pipefail
data=${1:?a text file, jsonl, csv, parquet or a folder of them} run=${2:-runs/mine}
fourhorn finetune "$data" "$run" --from "${MODEL:-124M}"
fourhorn sample "$run"
