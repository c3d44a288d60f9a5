PYTHON ?= python3
BIN := .venv/bin

.PHONY: train install test test-all check format

train: .venv/installed          ## set up, then train; make train ARGS="dataset=cifar10 dataset.root=DIR"
	$(BIN)/python train.py $(ARGS)

install: .venv/installed-dev    ## set up with the tools for development

test: .venv/installed-dev       ## set up, then run the default tests on two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: .venv/installed-dev   ## the slow ones too
	$(BIN)/python -m pytest -m "slow or not slow"

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
