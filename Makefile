# Everything runs in .venv, which any target makes if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
JOBS ?= 2

.PHONY: setup demo test lint bench clean

setup: $(VENV)/.complete

# The lock file pins what was tested; pyproject.toml says what may be used instead.
$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --group dev --editable .
	touch $@

demo: setup
	rm -rf out/demo
	$(BIN)/pixnet demo --out out/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile

bench: setup $(PEERS)/.complete
	$(BIN)/python -m benchmarks

# The peers keep to the lock file but for what they themselves hold back.
$(PEERS)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --upgrade pip
	grep -vE '^(pydantic|pydantic_core|imagecodecs)=' constraints.txt > $(PEERS)/constraints.txt
	$(PEERS)/bin/pip install --quiet --constraint $(PEERS)/constraints.txt --group bench --editable .
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) out build dist
