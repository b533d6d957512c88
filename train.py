"""Trains a segmenting network from sample labels: python train.py --data STORE --out RUN."""

import sys

from compseg_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
