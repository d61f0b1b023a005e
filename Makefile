# Bare `make` prints the verbs. Each works on a fresh clone: it makes .venv first if that is missing or stale.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test lint types lock repro clean

help:  ## show these verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

run: $(BIN)/.installed  ## start everything; ARGS=--once: predict, trace and replay once, then stop
	@exec $(BIN)/headwater up $(ARGS)

# A file's tests share servers and projects, so a file is the unit that goes to a process.
test: $(BIN)/.installed-dev browser  ## run all tests, on up to four cores
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(BIN)/.installed-dev  ## ruff: errors and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(BIN)/.installed-dev  ## mypy, strict
	@$(BIN)/mypy

setup: $(BIN)/.installed-dev  ## make .venv with everything that tests need

repro: $(BIN)/.installed  ## dvc repro: rerun what changed
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro $(ARGS)

lock:  ## pin the newest versions that pyproject.toml allows
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-strip-extras \
		--python-version 3.11 --prerelease=if-necessary-or-explicit pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-strip-extras \
		--python-version 3.11 --prerelease=if-necessary-or-explicit --extra dev -c requirements.lock \
		pyproject.toml -o requirements-dev.lock

clean:  ## remove .venv and caches; data, .headwater and DVC's cache stay
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info

.PHONY: browser
browser:
	@./tests/install-browser

$(BIN)/.installed: requirements.lock pyproject.toml
	@./install $(PYTHON) $(VENV) requirements.lock
	@touch $@

# The development lock holds everything of the other one, at the same versions.
$(BIN)/.installed-dev: requirements-dev.lock requirements.lock pyproject.toml
	@./install $(PYTHON) $(VENV) requirements-dev.lock
	@touch $@ $(BIN)/.installed
