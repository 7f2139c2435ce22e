# Everything a developer or CI runs. `make help` lists the targets.
#
# One environment, .venv, and one folder of servers, .servers; both are made on first use. Stamp files
# say what has been done, so that a second run costs a fraction of a second.

VENV := .venv
PYTHON_BIN := $(VENV)/bin/python
PYTEST_ARGS ?=
BENCH_ARGS ?=
# Tests wait for servers, deadlines and other processes more than they compute: more workers than cores.
WORKERS ?= 4

# The environment is made again if it was moved with its checkout, if its interpreter has gone, or if PYTHON
# names another one.
ifneq ($(shell cat $(VENV)/.made 2>/dev/null && $(PYTHON_BIN) -c "" 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.made
else ifneq ($(PYTHON),)
BASE := -c 'import sys; print(sys.version, sys.base_prefix)'
ifneq ($(shell $(PYTHON) $(BASE) 2>&1),$(shell $(PYTHON_BIN) $(BASE)))
.PHONY: $(VENV)/.made
endif
endif

.DEFAULT_GOAL := help
.PHONY: help venv dlio .dlio-if-possible servers setup test test-long coverage test-dlio lint format demo bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

venv: $(VENV)/.package ## make .venv with s3dlio (editable), test and lint tools
	@:

dlio: $(VENV)/.dlio ## add DLIO 2.0.0, PyTorch and MPI to .venv
	@:

$(VENV)/.made: tools/setup.sh
	@tools/setup.sh venv
	@echo "$(CURDIR)" > $@

$(VENV)/.package: pyproject.toml $(VENV)/.made
	@tools/setup.sh package
	@touch $@

$(VENV)/.dlio: $(VENV)/.package
	@tools/setup.sh dlio
	@touch $@

servers: $(VENV)/.made ## install the real servers and the tools of the tests, and a browser, into .servers
	@$(PYTHON_BIN) -m tests.servers install

# The environment and the servers come from different places: fetched side by side they take half the time.
setup: ## all of the above
	@$(MAKE) --no-print-directory -j2 .dlio-if-possible servers

.dlio-if-possible: $(VENV)/.package
	@$(MAKE) --no-print-directory dlio || { [ -z "$$CI" ] && echo "setup: tests that need DLIO will be skipped" >&2; }

test: setup ## lint, then every test, and those of files and of the command on each Python that is found
	@$(MAKE) --no-print-directory lint
	$(PYTHON_BIN) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)
	@[ -n "$(PYTEST_ARGS)" ] || WORKERS=$(WORKERS) tools/versions.sh quick

test-long: setup ## lint, then every test and those that take long, but for the matrix of DLIO
	@$(MAKE) --no-print-directory lint
	$(PYTHON_BIN) -m pytest -n $(WORKERS) --dist worksteal -m "not matrix" $(PYTEST_ARGS)
	@[ -n "$(PYTEST_ARGS)" ] || WORKERS=$(WORKERS) tools/versions.sh all

# What counts instructions or imports is left out: the tracer would be counted too. The bound is in pyproject.toml.
coverage: setup ## branch coverage of every test, in all processes that they start; fails below the bound
	$(PYTHON_BIN) -m coverage erase
	$(PYTHON_BIN) -m coverage run -m pytest -n $(WORKERS) --dist worksteal \
		--ignore=tests/guard --ignore=tests/test_import.py $(PYTEST_ARGS)
	$(PYTHON_BIN) -m coverage combine --quiet
	$(PYTHON_BIN) -m coverage report

# DLIO_SOURCE=<checkout> runs them on that DLIO instead of 2.0.0. TensorFlow, where .venv has it, is tested too.
test-dlio: setup ## every test of DLIO, the whole matrix of formats, protocols and start methods included
	$(PYTHON_BIN) -m pytest -n $(WORKERS) --dist worksteal -m "matrix or not matrix" tests/integrations/dlio $(PYTEST_ARGS)

lint: venv ## ruff and mypy
	$(PYTHON_BIN) -m ruff check
	$(PYTHON_BIN) -m ruff format --check
	$(PYTHON_BIN) -m mypy

format: venv ## repair what ruff can
	$(PYTHON_BIN) -m ruff check --fix
	$(PYTHON_BIN) -m ruff format

demo: dlio ## set up, then generate, train and checkpoint a small workload with DLIO, on files and on S3; reports
	@$(PYTHON_BIN) -m tests.servers install seaweedfs
	@$(PYTHON_BIN) -m tools.demo

bench: dlio ## measure s3dlio beside its peers (BENCH_ARGS="--quick" takes three minutes)
	@$(PYTHON_BIN) -m benchmarks $(BENCH_ARGS)

clean: ## remove .venv, .venvs, .servers, .bench and all caches
	rm -rf $(VENV) .venvs .coverage .servers .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
