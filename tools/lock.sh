#!/bin/sh
# Writes packaging/locked-all.txt and packaging/locked-cuda.txt: every release that the container installs, by its hash.
# Needs uv (https://docs.astral.sh/uv). --upgrade takes the newest releases that the requirements allow.
set -eu
cd "$(dirname "$0")/.."
uv=$(command -v uv || { [ -x .venv/bin/uv ] && echo .venv/bin/uv; } || true)
if [ -z "$uv" ]; then
    echo "lock: uv is needed: pip install uv" >&2
    exit 1
fi
for name in all cuda; do
    extras="--extra all"
    if [ "$name" = cuda ]; then extras="$extras --extra cuda"; fi
    # shellcheck disable=SC2086  # two words
    "$uv" pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-annotate \
        --custom-compile-command "make lock" "$@" $extras pyproject.toml packaging/build.txt \
        --output-file "packaging/locked-$name.txt"
done
