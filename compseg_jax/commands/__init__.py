"""Commands of `compseg` that are too long for cli.py, and what commands share."""
