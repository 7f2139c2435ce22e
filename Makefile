# SPDX-License-Identifier: Apache-2.0
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
PYTEST := -m pytest -n $(WORKERS) --dist worksteal
# Runs without coverage: tests that count instructions or imports, which would count the tracer too, and tests that
# start hundreds of processes or play thousands of compositions, which the tracer would slow down by minutes.
UNTRACED := tests/guard tests/test_import.py tests/chaos tests/concurrency/test_endings.py \
	tests/http/test_descriptors.py

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
.PHONY: help venv dlio .dlio-if-possible servers setup test test-long coverage .traced .coverage-report test-dlio lint format demo bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

venv: $(VENV)/.package ## create .venv with s3dlio (editable), test and lint tools
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

test: setup ## lint, all tests with branch coverage, then the tests of files and the command on each Python
	@$(MAKE) --no-print-directory lint
ifneq ($(PYTEST_ARGS),)
	$(PYTHON_BIN) $(PYTEST) $(PYTEST_ARGS)
else
	@$(MAKE) --no-print-directory .traced
	$(PYTHON_BIN) $(PYTEST) $(UNTRACED)
	@WORKERS=$(WORKERS) tools/versions.sh quick
	@$(MAKE) --no-print-directory .coverage-report
endif

test-long: setup ## lint, then all tests, also those that take long, except the matrix of DLIO
	@$(MAKE) --no-print-directory lint
	$(PYTHON_BIN) $(PYTEST) -m "not matrix" $(PYTEST_ARGS)
	@[ -n "$(PYTEST_ARGS)" ] || WORKERS=$(WORKERS) tools/versions.sh all

coverage: setup ## all tests with branch coverage, also of the processes that they start; fails below the bound
	@$(MAKE) --no-print-directory .traced
	@$(MAKE) --no-print-directory .coverage-report

.traced:
	$(PYTHON_BIN) -m coverage erase
	$(PYTHON_BIN) -m coverage run $(PYTEST) $(addprefix --ignore=,$(UNTRACED)) $(PYTEST_ARGS)

# Processes that tests kill may leave data that cannot be read: `combine` warns and continues. The bound is in
# pyproject.toml; without DLIO, whose tests are then skipped, it cannot be met.
.coverage-report:
	@$(PYTHON_BIN) -m coverage combine --quiet
	@$(PYTHON_BIN) -m coverage report $$([ -e $(VENV)/.dlio ] || echo --fail-under=0)

# DLIO_SOURCE=<checkout> runs them on that DLIO instead of 2.0.0. TensorFlow, where .venv has it, is tested too.
test-dlio: setup ## all tests of DLIO, with the whole matrix of formats, protocols and start methods
	$(PYTHON_BIN) $(PYTEST) -m "matrix or not matrix" tests/dlio $(PYTEST_ARGS)

lint: venv ## ruff and mypy
	$(PYTHON_BIN) -m ruff check
	$(PYTHON_BIN) -m ruff format --check
	$(PYTHON_BIN) -m mypy

format: venv ## fix what ruff can fix
	$(PYTHON_BIN) -m ruff check --fix
	$(PYTHON_BIN) -m ruff format

demo: dlio ## set up, then generate, train and checkpoint a small workload with DLIO, on files and on S3; reports
	@$(PYTHON_BIN) -m tests.servers install seaweedfs
	@$(PYTHON_BIN) -m tools.demo

bench: dlio ## compare s3dlio with other clients (BENCH_ARGS="--quick" takes three minutes)
	@$(PYTHON_BIN) -m benchmarks $(BENCH_ARGS)

clean: ## remove .venv, .venvs, .servers, .bench and all caches
	rm -rf $(VENV) .venvs .coverage .servers .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
