# PYTHON: the interpreter .venv is made with, 3.11 to 3.13. EXTRA: cpu or gpu, by the machine's devices when empty.
PYTHON ?= python3
EXTRA ?=
BIN := .venv/bin
STAMP := .venv/.setup-stamp

.PHONY: help setup quickstart test lint clean distclean

help:
	@echo 'make setup       .venv with everything in it (Python 3.11 to 3.13; about 5 minutes, 5 GB; then nothing)'
	@echo 'make quickstart  setup, then train and compare a small team with a local model; writes runs/quickstart'
	@echo 'make test        setup, lint, then all tests'
	@echo 'make lint        formatting, types, import rules, unused and missing dependencies'
	@echo 'make clean       remove caches; distclean removes .venv and runs too'

setup: $(STAMP)
	@$(BIN)/python -m serving.models

$(STAMP): pyproject.toml Makefile scripts/setup.sh
	@PYTHON='$(PYTHON)' EXTRA='$(EXTRA)' scripts/setup.sh
	@touch $@

quickstart: setup
	$(BIN)/lamas-local train --config configs/quickstart.yaml --restart

test: lint
	$(BIN)/pytest -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv runs
