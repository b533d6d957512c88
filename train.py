"""Trains a segmenting network from sample labels: python train.py --data STORE --out RUN."""

import sys

from compseg_jax.cli.main import program

if __name__ == "__main__":
    sys.exit(program(["train", *sys.argv[1:]]))
