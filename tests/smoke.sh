#!/usr/bin/env bash
# Builds the wheel and installs it in a fresh environment outside the checkout: first for the environments alone, where
# training names the extra that it needs; then with the extras, where it trains by recipe name.
# Usage: tests/smoke.sh PYTHON, whose environment has the package `build`.
set -euo pipefail

checkout=$(cd "$(dirname "$0")/.." && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH
export NUMBA_OPT=0 # what is compiled here runs once; the tests have it as users do

"$python" -m build --outdir "$work/dist" "$checkout" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"$python" -m venv "$work/venv"
cd "$work"
wheel=$(echo "$work"/dist/*.whl)
install() { # without compiling: most of what is installed is not imported here
    venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check \
        --constraint "$checkout/constraints.txt" "$1"
}

install "$wheel"
venv/bin/lerl --version
venv/bin/python -c "import gymnasium, lerl
env = gymnasium.make('lerl/Synthetic-v0', slate_size=6)
env.reset(seed=0)
env.step([0, 1, 2, 3, 4, 5])"
refused=$(venv/bin/lerl train quickstart --out run 2>&1 && exit 1 || true)
echo "$refused"
grep -q "pip install 'lerl-rec\[train\]'" <<<"$refused"

install "$wheel[train,plot]"
# A few agents: all code is imported anyway, and each further agent compiles for long.
venv/bin/lerl train quickstart --agents '[auto,boredom+ppo,flat+ppo+mmr,random]' --train.steps 1000 \
    --evaluation.users 20 --evaluation.replicates 1 --out run
test -n "$(ls run/*.yaml)"
echo "smoke test: the wheel installs and trains"
