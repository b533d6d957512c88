#!/bin/sh
# All that a GPU has to show, offline, in three calls that are complete in themselves, so that each fits a limit of ten
# minutes: `training` (self-check and the paper's whole training), `steps` (training step and forward pass beside
# PyTorch), `variants` (of the step, in one process). Results: benchmarks/results/<device>-<part>-<date>.jsonl, each
# line written as it comes. Needs jax with CUDA and this project's requirements but tyro, and torch for the peer.
# PYTHON names another interpreter than python3; arguments go on to `python -m benchmarks.gpu`
# (PART …, --out FOLDER, --small, --no-peer).
set -eu
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
