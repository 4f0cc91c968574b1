# Two targets do all the set-up: `make demo` and `make test`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint types check benchmarks clean

demo: $(INSTALLED)  ## train a small network on embedded digits, measure it, prune it with SAP, write a report
	$(BIN)/python examples/demo.py runs/demo

test: $(INSTALLED)  ## the ordinary suite, warnings as errors
	$(BIN)/python -m pytest -m "not slow"

test-all: $(INSTALLED)  ## the slow tests too
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: lint types test  ## what must pass before a change lands

benchmarks: $(INSTALLED)  ## the table of overheads and thresholds, written to benchmarks/results
	$(BIN)/python benchmarks/table.py

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "howsparse needs Python 3.11 or newer; none was found (set PYTHON=...)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first and pinned: asked for by others it may come with another build
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs
