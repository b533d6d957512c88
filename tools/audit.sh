#!/bin/sh
# Asks for known vulnerabilities of what the container installs (packaging/locked-*.txt), and of .venv where it is there.
# pip-audit lies in an environment of its own; 1 where something is known, or could not be asked.
set -eu
cd "$(dirname "$0")/.."
if [ ! -x .venv-audit/bin/pip-audit ]; then
    rm -rf .venv-audit
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet ${COMPSEG_PYTHON:+--python "$COMPSEG_PYTHON"} .venv-audit
        VIRTUAL_ENV="$PWD/.venv-audit" uv pip install --quiet "pip-audit>=2.9,<3"
    else
        "${COMPSEG_PYTHON:-python3}" -m venv .venv-audit
        .venv-audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.9,<3"
    fi
fi
found=0
for name in all cuda; do
    echo "audit: packaging/locked-$name.txt"
    .venv-audit/bin/pip-audit --progress-spinner off --strict --require-hashes --disable-pip \
        --requirement "packaging/locked-$name.txt" || found=1
done
if [ -d .venv ]; then
    echo "audit: .venv"
    .venv-audit/bin/pip-audit --progress-spinner off --strict --skip-editable \
        --path "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || found=1
fi
exit $found
