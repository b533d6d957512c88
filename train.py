"""Trains a segmenting network from sample labels: python train.py --data STORE --out RUN."""

import sys

from compseg_jax.cli.main import run_command, train_command

if __name__ == "__main__":
    sys.exit(run_command(train_command))
