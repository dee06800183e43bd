PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
CUTS ?= 2000

.PHONY: run test soak hil hil-soak lint bench clean

run: $(VENV)/.installed
	$(BIN)/thingroom run --demo --data $(DATA)

test: $(VENV)/.installed-test lint
	$(BIN)/python -m tests.prepare
	$(BIN)/pytest -n 2 --dist loadfile

soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.prepare
	THINGROOM_SOAK=1 $(BIN)/pytest -s tests/flows/test_two_days_of_outage.py tests/flows/test_everything_at_once.py \
		tests/flows/test_a_long_day.py

hil: $(VENV)/.installed-test
	$(BIN)/python -m hil

hil-soak: $(VENV)/.installed-test
	THINGROOM_HIL_CUTS=$(CUTS) $(BIN)/python -m hil

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-test
	$(BIN)/python -m tests.prepare
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) .synapse .bridges .rust_sdk .pytest_cache .mypy_cache .ruff_cache .hypothesis bench_results hil_results \
		tests/browser/node_modules

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Thingroom needs Python 3.11 or later; say which with: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.installed
