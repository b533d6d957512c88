#!/bin/sh
# Asks for known vulnerabilities of what the container installs (packaging/locked-*.txt), and of .venv where it is there.
# pip-audit lies in an environment of its own. 1 where something is known, 2 where nobody could be asked.
set -eu
cd "$(dirname "$0")/.."

not_known() {
    echo "audit: $1, so nothing is known of $2; its reason is above; run it again with a network." >&2
    exit 2
}

set_up() {
    rm -rf .venv-audit
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet ${COMPSEG_PYTHON:+--python "$COMPSEG_PYTHON"} .venv-audit &&
            VIRTUAL_ENV="$PWD/.venv-audit" uv pip install --quiet "pip-audit>=2.9,<3"
    else
        "${COMPSEG_PYTHON:-python3}" -m venv .venv-audit &&
            .venv-audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.9,<3"
    fi
}

found=0
# Its exit code is 1 both for what is known and where the service does not answer; only the former makes a table.
ask() {
    what=$1
    shift
    echo "audit: $what"
    if table=$(.venv-audit/bin/pip-audit --progress-spinner off --strict "$@"); then
        return
    fi
    [ -n "$table" ] || not_known "pip-audit found no answer" "$what"
    echo "$table"
    found=1
}

[ -x .venv-audit/bin/pip-audit ] || set_up || not_known "pip-audit could not be installed" "any release"
for name in all cuda; do
    ask "packaging/locked-$name.txt" --require-hashes --disable-pip --requirement "packaging/locked-$name.txt"
done
if [ -d .venv ]; then
    ask .venv --skip-editable --path "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
fi
exit $found
