"""Evaluates an extracted network: python evaluate.py --model RUN/model --data STORE --split test --out REPORT."""

import sys

from compseg_jax.cli.main import program

if __name__ == "__main__":
    sys.exit(program(["evaluate", *sys.argv[1:]]))
