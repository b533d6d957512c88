#!/bin/sh
# Makes .venv with the newest tested Python found (3.11 to 3.13) and installs the project into it.
# COMPSEG_PYTHON names another interpreter; COMPSEG_EXTRAS adds extras, such as COMPSEG_EXTRAS=cuda.
# `oldest` as its argument makes .venv-oldest with the oldest release of everything that the requirements allow.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
resolution=highest
constraints=requirements.txt
if [ "${1:-}" = oldest ]; then venv=.venv-oldest resolution=lowest-direct constraints=requirements-oldest.txt; fi

find_python() {
    if [ -n "${COMPSEG_PYTHON:-}" ]; then echo "$COMPSEG_PYTHON"; return; fi
    for minor in 13 12 11; do
        for candidate in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor"*/bin/python3; do
            # A pyenv shim exists for versions it cannot run, so the candidate has to prove itself.
            if "$candidate" -c 'import sys, venv, ensurepip' >/dev/null 2>&1; then echo "$candidate"; return; fi
        done
        if command -v uv >/dev/null 2>&1 && found=$(uv python find --no-python-downloads "3.$minor" 2>/dev/null); then
            echo "$found"; return
        fi
    done
    echo python3
}

python=$(find_python)
"$python" - <<'PY' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit(f"compseg_jax needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. "
             "Install one, or name it: COMPSEG_PYTHON=/path/to/python3.12 make demo")
PY
echo "set-up: $("$python" --version) ($python)"
rm -rf "$venv"
if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python "$python" $venv
else
    "$python" -m venv $venv || {
        echo "set-up: $python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
        exit 1
    }
    # uv installs the same wheels several times faster than pip; without it pip does the work below.
    $venv/bin/python -m pip install --quiet --disable-pip-version-check uv || true
fi
project=".${COMPSEG_EXTRAS:+[$COMPSEG_EXTRAS]}"
uv=$(command -v uv || { [ -x $venv/bin/uv ] && echo "$venv/bin/uv"; } || true)
if [ -n "$uv" ]; then
    # Compiled once, as pip does: where Python may not keep bytecode, every command would do it again (4 s).
    VIRTUAL_ENV="$PWD/$venv" "$uv" pip install --quiet --compile-bytecode --resolution "$resolution" --constraint "$constraints" \
        -r requirements.txt -r requirements-dev.txt -e "$project"
elif [ "$resolution" = highest ]; then
    $venv/bin/python -m pip install --quiet --disable-pip-version-check \
        -r requirements.txt -r requirements-dev.txt -e "$project"
else
    echo "set-up: the oldest releases are found by uv, which could not be installed: see https://docs.astral.sh/uv" >&2
    exit 1
fi
$venv/bin/python -c 'import jax; print("set-up: jax", jax.__version__)'
touch $venv/.ready
