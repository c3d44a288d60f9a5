PYTHON ?= python3
BIN := .venv/bin

.PHONY: train install test test-integration test-all test-next bench check format

train: .venv/installed          ## set up, then train; make train ARGS="dataset=cifar10 dataset.root=DIR"
	$(BIN)/python train.py $(ARGS)

install: .venv/installed-dev    ## set up with the tools for development

test: .venv/installed-dev       ## set up, then run the quick tests on two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-integration: .venv/installed-dev   ## scripts, sweeps, several processes, a browser
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "integration and not slow and not gpu"

test-all: .venv/installed-all   ## everything, the slow ones too
	$(BIN)/python -m pytest -m ""

test-next: .venv/installed-next ## the tests that touch Hydra, with its next line and Optuna 5; before a release
	.venv-next/bin/python -m pytest -n 2 --dist loadfile -W ignore -m "not slow and not gpu" \
		tests/sweeps tests/config tests/test_scripts.py tests/test_kill.py

bench: .venv/installed-dev      ## measure what is claimed about speed, in under 20 minutes on a quiet machine
	$(BIN)/python benchmarks/run_all.py $(ARGS)

check: .venv/installed-dev      ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

.venv/installed-all: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,slurm,postgresql]"
	touch $@

.venv/installed-next: .venv/installed-dev
	$(PYTHON) -m venv .venv-next
	.venv-next/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" \
		"hydra-core==1.4.0rc3" "hydra-optuna-sweeper==1.4.0rc3"
	touch $@
