# Everything runs in .venv, which any target makes if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-bench
JOBS ?= 2

# The benchmarks of accuracy write their pages from the tables in RESULTS. Runs that are missing there are computed, which
# takes many hours for all of them; what was computed before a kill is in RUNS. For other methods, seeds or settings than
# the usual ones give another RESULTS.
RESULTS ?= benchmarks/results
RUNS ?= out/runs
HER2ST ?= ../shared/data/her2st/samples.toml
MOB_METHODS ?= pixnet,mean,colour-ridge,ridge,hest-ridge,knn,st-net
MOB_SEEDS ?= 0
MOB ?= ../shared/data/mob/samples.toml
HER2ST_PROTOCOL ?= benchmarks/accuracy/her2st.protocol.json
METHODS ?= pixnet,mean,colour-ridge,ridge,hest-ridge,knn,st-net,istar
SEEDS ?= 0,1,2,3,4
VIRTUAL_SEEDS ?= 0
VIRTUAL_OPTIONS ?=
# The command that the pages name.
TYPED = $(strip make $@ $(MAKEOVERRIDES))

.PHONY: setup demo test lint docs bench benchmark-her2st benchmark-virtual benchmark-donors freeze-her2st benchmark-mob freeze-mob benchmark-repeat clean

setup: $(VENV)/.complete

# The lock file pins what was tested; pyproject.toml says what may be used instead.
$(VENV)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/pip install --quiet --constraint constraints.txt --build-constraint constraints.txt --group dev --editable .
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

# Offline. A warning is an error: a broken link, an undocumented public name, a cell of a tutorial that fails.
docs: $(VENV)/.docs
	rm -rf out/docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -d out/docs.doctrees -b html docs out/docs
	@echo "open out/docs/index.html"

$(VENV)/.docs: $(VENV)/.complete
	$(BIN)/pip install --quiet --constraint constraints.txt --group docs
	touch $@

bench: setup $(PEERS)/.complete
	$(BIN)/python -m benchmarks

benchmark-her2st: setup
	$(BIN)/python -m benchmarks.accuracy.her2st --protocol $(HER2ST_PROTOCOL) --results $(RESULTS) --runs $(RUNS) \
	  --command '$(TYPED)'

# After a change of settings, methods or seeds: freezes folds, genes and hashes of Her2ST again.
freeze-her2st: setup
	$(BIN)/pixnet evaluate $(HER2ST) --samples C2,C3,C4,C5 --split loso --target same-donor --methods $(METHODS) \
	  --seeds $(SEEDS) --write-protocol $(HER2ST_PROTOCOL) --overwrite

benchmark-mob: setup
	$(BIN)/python -m benchmarks.accuracy.mob --results $(RESULTS) --runs $(RUNS) --command '$(TYPED)'

freeze-mob: setup
	$(BIN)/pixnet evaluate $(MOB) --split lodo --config benchmarks/accuracy/mob.toml --methods $(MOB_METHODS) \
	  --seeds $(MOB_SEEDS) --write-protocol benchmarks/accuracy/mob.protocol.json --overwrite

benchmark-virtual: setup
	$(BIN)/python -m benchmarks.accuracy.scales --methods $(METHODS) --seeds $(VIRTUAL_SEEDS) --results $(RESULTS) \
	  --runs $(RUNS) --command '$(TYPED)' $(VIRTUAL_OPTIONS)

benchmark-donors: setup
	$(BIN)/python -m benchmarks.accuracy.donors --methods $(METHODS) --seeds $(VIRTUAL_SEEDS) --results $(RESULTS) \
	  --runs $(RUNS) --command '$(TYPED)'

# Computes a few runs of both benchmarks again, from nothing, and compares their scores with the tables; 15 minutes.
benchmark-repeat: setup
	$(BIN)/python -m benchmarks.accuracy.repeat --results $(RESULTS)

# The peers keep to the lock file, except for packages of which they need older versions.
$(PEERS)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --upgrade --constraint constraints.txt pip
	grep -vE '^(pydantic|pydantic_core|imagecodecs)=' constraints.txt > $(PEERS)/constraints.txt
	$(PEERS)/bin/pip install --quiet --constraint $(PEERS)/constraints.txt --build-constraint constraints.txt \
	  --group bench --editable .
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) out build dist
