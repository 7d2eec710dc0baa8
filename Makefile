# fourhorn: `make reproduce` runs the whole paper; `make test` and `make check` before a change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
RUN_EXTRAS := webtext,eval,report

.PHONY: help reproduce test check bench docs format clean

help:
	@echo "make reproduce   the whole paper at pocket scale, ending in reproduction/report/index.html"
	@echo "make test        all tests (under 8 minutes on 2 cores)"
	@echo "make check       ruff, mypy --strict, house rules (under a minute)"
	@echo "make bench       every speed claim beside its rivals, into benchmarks/results/"
	@echo "make docs        the documentation site, into site/"

# torch first, so that nothing after it chooses another build.
$(BIN)/.python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$(TORCH)"
	@touch $@

$(BIN)/.run: $(BIN)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[$(RUN_EXTRAS)]"
	@touch $@

$(BIN)/.dev: $(BIN)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@

$(BIN)/.docs: $(BIN)/.dev
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
	@touch $@

reproduce: $(BIN)/.run
	$(BIN)/fourhorn reproduce reproduction

test: $(BIN)/.dev
	$(BIN)/python -m pytest

check: $(BIN)/.dev
	$(BIN)/ruff format --check fourhorn tests benchmarks examples
	$(BIN)/ruff check fourhorn tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house_rules.py tests/test_public_api.py

format: $(BIN)/.dev
	$(BIN)/ruff format fourhorn tests benchmarks examples
	$(BIN)/ruff check --fix fourhorn tests benchmarks examples

bench: $(BIN)/.dev
	$(BIN)/python benchmarks/run_all.py

docs: $(BIN)/.docs
	$(BIN)/mkdocs build --strict --site-dir site

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
