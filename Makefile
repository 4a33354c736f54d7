# Everything that is done with this project, on a machine with Python 3.11 or newer and make.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

# Set `ARGS` to pass arguments on: make demo ARGS="--trace FILE", make test ARGS="tests/unit -x".
ARGS ?=
VENV ?= .venv
VERSIONS := 3.13 3.12 3.11
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A name on the PATH is not enough: a version manager's placeholder may not run, and a system's Python may lack ensurepip.
REPORT := import ensurepip, sys, venv; print(sys.executable) if sys.version_info >= (3, 11) else sys.exit(1)
first_python = $(shell for python in $(1); do "$$python" -c '$(REPORT)' 2>/dev/null && break; done)
# Version managers keep their Pythons beside the folder with the placeholders.
beside = "$$(dirname "$$(command -v python$(1))")"/../versions/$(1).*/bin/python$(1)

ifeq ($(origin PYTHON),undefined)
PYTHON := $(call first_python,$(VERSIONS:%=python%) python3)
endif

BIN := $(VENV)/bin
SOURCES := $(wildcard src tests scripts benchmarks)
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: $(VENV)/runtime.stamp ## Live a gateway's day on a new SQLite database
	@$(BIN)/gatewaydb demo $(ARGS)

.PHONY: test
test: $(VENV)/dev.stamp ## Run the whole test suite, on SQLite and on a real PostgreSQL (ARGS="-n 0 -x": in one process)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: check
check: $(VENV)/dev.stamp ## Check format, lint, types and layers
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports --no-cache --no-logo

.PHONY: format
format: $(VENV)/dev.stamp ## Format the code and mend what ruff can
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

.PHONY: test-all
test-all: $(VERSIONS:%=test-%) ## Run the suite on each supported Python that this machine has

.PHONY: $(VERSIONS:%=test-%)
$(VERSIONS:%=test-%): test-%: $(VENV)/python.stamp
	@if [ "$$(cat $<)" = "$*" ]; then exec $(MAKE) test; fi; \
	python='$(call first_python,python$* $(call beside,$*))'; \
	if [ -z "$$python" ]; then echo "Python $*: not on this machine"; exit 0; fi; \
	exec $(MAKE) test PYTHON="$$python" VENV=.venv-$*

.PHONY: bench
bench: $(VENV)/dev.stamp ## Measure the goals of docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: soak
soak: $(VENV)/dev.stamp ## Record usage for ten minutes while PostgreSQL is killed (ARGS="--minutes 1")
	@$(BIN)/python -m benchmarks.soak $(ARGS)

.PHONY: kills
kills: $(VENV)/dev.stamp ## Kill a recording process 300 times on each engine, and PostgreSQL with it
	GATEWAYDB_TEST_KILLS=300 $(BIN)/python -m pytest tests/faults/test_recorder.py -k killed $(ARGS)

.PHONY: lock
lock: $(VENV)/dev.stamp ## Resolve the dependencies anew (ARGS=--upgrade: to their newest releases)
	$(COMPILE) pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
	$(COMPILE) pyproject.toml --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) --group build --constraint requirements/dev.txt --output-file requirements/build.txt

.PHONY: clean
clean: ## Remove the virtual environments, caches and builds
	rm -rf .venv .venv-3.* build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/python.stamp:
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c '$(REPORT)' >/dev/null 2>&1 || { \
		echo "gatewaydb needs Python 3.11 or newer with venv; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@$(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' > $@

# The locks decide what is installed; the package itself is installed in place.
install = $(BIN)/pip install -qq --only-binary :all: --require-hashes $(1:%=-r %) \
	&& $(BIN)/pip install -qq --no-index --no-build-isolation --no-deps --editable . && touch $@

$(VENV)/runtime.stamp: requirements/runtime.txt requirements/build.txt pyproject.toml $(VENV)/python.stamp
	@echo "Installing the package into $(VENV)"
	@$(call install,requirements/runtime.txt requirements/build.txt)

$(VENV)/dev.stamp: requirements/dev.txt pyproject.toml $(VENV)/python.stamp
	@echo "Installing the package and its development tools into $(VENV)"
	@$(call install,requirements/dev.txt)
