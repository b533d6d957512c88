#!/bin/sh
# Makes .venv-docs with what builds the documentation site. The site reads the package's source and does not import it.
# COMPSEG_PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")/.."
rm -rf .venv-docs
if command -v uv >/dev/null 2>&1; then
    uv venv --quiet ${COMPSEG_PYTHON:+--python "$COMPSEG_PYTHON"} .venv-docs
    VIRTUAL_ENV="$PWD/.venv-docs" uv pip install --quiet -r requirements-docs.txt
else
    "${COMPSEG_PYTHON:-python3}" -m venv .venv-docs
    .venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
fi
touch .venv-docs/.ready
