"""Evaluates an extracted network: python evaluate.py --model RUN/model --data STORE --split test --out REPORT."""

import sys

from compseg_jax.cli.main import evaluate_command, run_command

if __name__ == "__main__":
    sys.exit(run_command(evaluate_command))
