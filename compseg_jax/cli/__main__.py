"""`python -m compseg_jax.cli`."""

import sys

from compseg_jax.cli.main import program

if __name__ == "__main__":
    sys.exit(program())
