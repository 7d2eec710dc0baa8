#!/usr/bin/env bash
# The whole paper at pocket scale on this machine, without a network: from a link to Table 6.
set -euo pipefail
fourhorn reproduce "${1:-pocket}"
