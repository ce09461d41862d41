# Every target makes .venv by itself if it is missing; nothing but python3 is needed.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test chaos soak kills lint format bench docs clean pages screenshots

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

demo: .venv/ready  ## Thirty seconds of a live market on this machine: no network, no server needed
	@$(BIN)/cryptostream run --demo --duration 30s

test: .venv/ready  ## The whole test suite, on two cores
	$(BIN)/pytest -n 3 --dist loadgroup

chaos: .venv/ready  ## Every row of the fault matrix, the long ones too, then a short soak
	@$(BIN)/python -m tests.chaos

soak: .venv/ready  ## Five minutes of random faults, then: is every trade there, once? SOAK="--for 1h"
	@$(BIN)/python -m tests.chaos soak $(SOAK)

kills: .venv/ready  ## A recorder and a signalling consumer killed 200 times: is every entry and every signal there, once?
	@$(BIN)/python -m tests.chaos kills $(KILLS)

lint: .venv/ready  ## Style, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready  ## Let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pages: .venv/ready  ## The dashboard, open for 30 minutes: does anything grow? PAGES="--for 5m"
	@$(BIN)/python -m tests.pages.soak $(PAGES)

screenshots: .venv/ready  ## The pictures of the README, taken of the demo
	@$(BIN)/python -m tests.pages.screenshots

docs: .venv/ready  ## docs/api.md from what the API says of itself
	$(BIN)/python -m tests.apidocs

bench: .venv/ready  ## Speed beside its peers, as ratios (makes their environments on first use)
	$(BIN)/python -m benchmarks

clean:  ## Remove what was made here
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/ready: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing cryptostream into .venv (once) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
