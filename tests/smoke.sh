#!/usr/bin/env bash
# Builds the wheel, installs it in a fresh environment outside the checkout, and trains there by recipe name.
# Usage: tests/smoke.sh PYTHON, whose environment has the package `build`.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/.." && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH

"$python" -m build --outdir "$work/dist" "$checkout" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/venv"
cd "$work"
# Without compiling: most of what is installed is not imported here.
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
    --constraint "$checkout/constraints.txt" dist/*.whl

venv/bin/lerl --version
venv/bin/lerl train quickstart --train.steps 1000 --evaluation.users 20 --evaluation.replicates 1 --out run
test -n "$(ls run/*.yaml)"
echo "smoke test: the wheel installs and trains"
