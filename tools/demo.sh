#!/bin/sh
# The main job on simulated tissue arrays: store, training, evaluation. Usage: tools/demo.sh FOLDER
set -eu
cd "$(dirname "$0")/.."
out=${1:-runs/demo}
python=.venv/bin/python
rm -rf "$out"
mkdir -p "$out"
echo "1/3  simulating 160 spots of three tissue arrays"
$python -m compseg_jax.cli phantom --out "$out/data"
echo "2/3  training from their labels"
$python train.py --data "$out/data" --out "$out/train" --recipe tools/demo.toml
echo "3/3  evaluating on 40 spots of another array"
$python evaluate.py --model "$out/train/model" --data "$out/data" --split test --out "$out/report" \
    --title "Demo: 40 simulated spots of another tissue array"
