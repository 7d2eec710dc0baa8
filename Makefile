# fourhorn: `make reproduce` runs the whole paper; `make test` and `make check` before a change.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
RUN_EXTRAS := webtext,eval,report
JOBS ?= 2
CONSTRAINTS ?= constraints.txt
SOURCES := fourhorn tests benchmarks examples scripts

.PHONY: help reproduce test check bench docs dist format clean

help:
	@echo "make reproduce   the whole paper at pocket scale, ending in reproduction/report/index.html"
	@echo "make test        all tests (under 8 minutes on 2 cores)"
	@echo "make check       ruff, mypy --strict, house rules (under a minute)"
	@echo "make bench       every speed claim beside its rivals, into benchmarks/results/"
	@echo "make docs        the documentation site, into site/"
	@echo "make dist        wheel and sdist, the same bytes on every machine, into dist/"

# torch first, so that nothing after it chooses another build.
$(BIN)/.python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "$(TORCH)"
	@touch $@

$(BIN)/.run: $(BIN)/.python pyproject.toml $(CONSTRAINTS)
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e ".[$(RUN_EXTRAS)]"
	@touch $@

$(BIN)/.dev: $(BIN)/.python pyproject.toml $(CONSTRAINTS)
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@

$(BIN)/.docs: $(BIN)/.dev
	$(BIN)/pip install --quiet -c $(CONSTRAINTS) -e ".[docs]"
	@touch $@

reproduce: $(BIN)/.run
	$(BIN)/fourhorn reproduce reproduction

test: $(BIN)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(BIN)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house_rules.py tests/test_public_api.py

format: $(BIN)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(BIN)/.dev
	$(BIN)/python benchmarks/run_all.py

docs: $(BIN)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

# Not in an isolated environment: the builder's own version is in the wheel, and constraints.txt fixes it.
dist: $(BIN)/.dev
	$(BIN)/python -m build --no-isolation --outdir dist
	cd dist && sha256sum *

clean:
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
