# Everything runs in .venv, which any target makes if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
JOBS ?= 2

# The benchmarks of accuracy take many hours. What they have computed stays in CELLS, and the next sitting goes on. What
# took long is in the repository too (KEPT), without the models; where inputs or code have changed, it is not used.
CELLS ?= out/cells
KEPT := benchmarks/cells
HER2ST ?= ../shared/data/her2st/samples.toml
HER2ST_PROTOCOL ?= benchmarks/accuracy/her2st.protocol.json
METHODS ?= pixnet,mean,colour-ridge,ridge,hest-ridge,knn,st-net,istar
SEEDS ?= 0,1,2,3,4
VIRTUAL_SEEDS ?= 0
VIRTUAL_OPTIONS ?=
# What was typed, for the tables.
TYPED = $(strip make $@ $(MAKEOVERRIDES))

.PHONY: setup demo test lint bench benchmark-her2st benchmark-virtual freeze-her2st known-cells keep-cells clean

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

benchmark-her2st: setup known-cells
	@if [ -f $(HER2ST) ]; then \
	  $(BIN)/pixnet evaluate --protocol $(HER2ST_PROTOCOL) --cells $(CELLS) --out out/benchmark-her2st --overwrite && \
	  $(BIN)/python -m benchmarks.accuracy.her2st $(HER2ST_PROTOCOL) --cells $(CELLS) --out out/benchmark-her2st \
	    --command '$(TYPED)'; \
	else echo "benchmark-her2st: skipped, for there is no $(HER2ST)"; fi

# Anew after a change of settings, methods or seeds: folds, genes and hashes of Her2ST.
freeze-her2st: setup
	$(BIN)/pixnet evaluate $(HER2ST) --samples C2,C3,C4,C5 --split loso --methods $(METHODS) --seeds $(SEEDS) \
	  --write-protocol $(HER2ST_PROTOCOL) --overwrite

known-cells:
	@mkdir -p $(CELLS)
	@if [ -n "$(KEPT)" ] && [ -d "$(KEPT)" ]; then cp -R $(KEPT)/. $(CELLS)/; fi

# Of all cells that are done, but for those of virtual tissue, which are too large: their scores are kept. Begin with an
# empty CELLS after a change of code, or void ones come along.
keep-cells:
	rm -rf $(KEPT) && mkdir -p $(KEPT)
	cd $(CELLS) && find . \( -path ./work -o -name '*um-seed*' ! -path './scores/*' \) -prune \
	  -o \( -name cell.json -o -name predictions.npz \) -print | tar -cf - -T - | tar -xf - -C $(CURDIR)/$(KEPT)

benchmark-virtual: setup known-cells
	$(BIN)/python -m benchmarks.accuracy.scales --presets breast,colon,cortex --sizes 100,55 --methods $(METHODS) \
	  --seeds $(VIRTUAL_SEEDS) --cells $(CELLS) --out out/benchmark-virtual --command '$(TYPED)' \
	  $(VIRTUAL_OPTIONS)

# The peers keep to the lock file but for what they themselves hold back.
$(PEERS)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --upgrade pip
	grep -vE '^(pydantic|pydantic_core|imagecodecs)=' constraints.txt > $(PEERS)/constraints.txt
	$(PEERS)/bin/pip install --quiet --constraint $(PEERS)/constraints.txt --group bench --editable .
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) out build dist
