#!/bin/sh
# All that a GPU has to show, in one command within nine minutes and offline: self-check, training step and forward
# pass beside PyTorch, the paper's whole training. Results: benchmarks/results/<device>-<date>.jsonl.
# Needs jax with CUDA and this project's requirements but tyro, and torch for the peer. PYTHON names another
# interpreter than python3; arguments go on to `python -m benchmarks.gpu` (--out FOLDER, --small, --no-peer).
set -eu
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
