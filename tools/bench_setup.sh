#!/bin/sh
# Makes .venv-peer with PyTorch, the benchmarks' peer, and prints its interpreter. COMPSEG_PEER_PYTHON names an
# interpreter that has torch already. Apart from .venv, so that neither framework's libraries meet the other's.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${COMPSEG_PEER_PYTHON:-}" ]; then echo "$COMPSEG_PEER_PYTHON"; exit; fi
if ! [ -e .venv-peer/.ready ] || [ requirements-peer.txt -nt .venv-peer/.ready ]; then
    python=python3
    if python3.11 -c 'import venv, ensurepip' >/dev/null 2>&1; then python=python3.11; fi
    rm -rf .venv-peer
    "$python" -m venv .venv-peer
    .venv-peer/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-peer.txt >&2
    touch .venv-peer/.ready
fi
echo "$PWD/.venv-peer/bin/python"
