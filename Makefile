# What a person or a machine does with this repository; `make` lists it.

PYTHON := python3
# A Python that is asked for (PYTHON=python3.13, or a path) has an environment of its own.
ifeq ($(origin PYTHON),file)
VENV   := .venv
else
FOUND  := $(shell scripts/pythons $(PYTHON))
override PYTHON := $(or $(FOUND),$(error there is no $(PYTHON) here: see scripts/pythons))
VENV   := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN    := $(VENV)/bin
PORT   := 8000
MINUTES := 10
PROCESSES := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 2)))
UV     := $(shell command -v uv 2>/dev/null)
NPM    := npm
SDK_JS := tests/sdk/js
GO     := go

# The ACME test server; the tests find it by this place.
PEBBLE_VERSION := v2.10.1
PEBBLE         := $(VENV)/pebble/$(PEBBLE_VERSION)

# Conformance cases for HTTP/2; likewise.
H2SPEC_VERSION := v2.2.1+incompatible
H2SPEC         := $(VENV)/h2spec/$(H2SPEC_VERSION)

# Two tests more at a time than there are cores: those of servers mostly wait. Quick are those that
# need no browser, Node.js or Go, and that kill no servers: what a fault does to us is the same on
# every Python.
# COVERAGE=1: branches that run are counted, in servers that tests start too. It takes a quarter
# longer, so that a whole run can be had with it; from Python 3.14 on coverage uses sys.monitoring.
PYTEST  = $(BIN)/python $(if $(COVERAGE),-m coverage run) -m pytest --numprocesses $(PROCESSES) --dist worksteal
QUICK  := --ignore=$(dir $(SDK_JS)) --ignore=tests/faults --ignore=tests/consumers --ignore=tests/packages \
	--ignore=tests/autocert/test_pebble.py \
	--deselect=tests/conformance/test_conformance.py::test_http2

# Rooms that are covered by their own tests wholly; the others by all tests together.
LOWEST := src/flyball/protocol/*,src/flyball/aio/*,src/flyball/core/*
FORGET  = $(if $(COVERAGE),rm -f .coverage .coverage.*)
REPORT  = $(if $(COVERAGE),$(BIN)/coverage combine -q && $(BIN)/coverage report --fail-under=95 --omit='$(LOWEST)')

# Those that cover the lowest rooms.
OWN_TESTS := $(addprefix tests/unit/,protocol aio core engines testing api library) tests/contract

# Recipes speak up for themselves.
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help setup run web test quick coverage check format test-faults bench bench-engines bench-scale soak fuzz conformance clean

help: ## Show this list
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(VENV)/.dev ## Create .venv and install everything for development

run: $(VENV)/.run ## Start the server with the demo configuration
	echo
	echo "  Flyball demo on http://localhost:$(PORT)/demo"
	echo "  Open it in two windows; Ctrl-C stops the server."
	echo "  The page for operators: http://localhost:$(PORT)/ (password: demo)"
	echo
	exec $(BIN)/flyball -c demo/config.toml --http_server.port $(PORT) --demo

web: web/node_modules/.stamp ## Build the admin page into the package (needs Node.js)
	cd web && $(NPM) run --silent build

test: $(VENV)/.dev $(if $(wildcard $(SDK_JS)/package.json),$(SDK_JS)/node_modules/.stamp) $(PEBBLE)/pebble $(H2SPEC)/h2spec ## Run all tests (PYTHON=python3.13: on that Python; COVERAGE=1: 95 % of branches)
	$(FORGET)
	$(PYTEST) $(PYTEST_ARGS)
	$(REPORT)

quick: $(VENV)/.dev ## Run the tests that need only Python packages, and kill no servers (PYTHON=... too)
	$(FORGET)
	$(PYTEST) $(QUICK) $(PYTEST_ARGS)
	$(REPORT)

test-faults: $(VENV)/.dev ## Run the fault tests with 20 rounds each (FLYBALL_FAULT_ROUNDS)
	FLYBALL_FAULT_ROUNDS=$${FLYBALL_FAULT_ROUNDS:-20} $(PYTEST) tests/faults $(PYTEST_ARGS)

coverage: COVERAGE := 1
coverage: $(VENV)/.dev ## Measure branches: protocol, aio and core are covered by their own tests
	$(FORGET)
	$(PYTEST) -q $(OWN_TESTS) $(PYTEST_ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=100 --include='$(LOWEST)'

check: $(VENV)/.dev $(if $(shell command -v $(NPM)),web/node_modules/.checked) ## Lint, formatting, types, import layers; the admin page, where Node.js is there
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Compare the server's cost with a C floor, Redis with its client, two workers with one (BENCH_ARGS=--quick)
	$(BIN)/python bench/run.py $(BENCH_ARGS)
ifeq ($(findstring --only,$(BENCH_ARGS)),)
	$(BIN)/python bench/engines.py --only redis $(filter --quick,$(BENCH_ARGS))
	$(BIN)/python bench/workers.py $(filter --quick,$(BENCH_ARGS))
endif

bench-engines: $(VENV)/.dev ## Compare engines with their bare client libraries (BENCH_ARGS=--quick)
	$(BIN)/python bench/engines.py $(BENCH_ARGS)

bench-scale: $(VENV)/.dev ## Measure what one of everything costs, compute what a million need (BENCH_ARGS=--quick)
	$(BIN)/python bench/scale.py $(BENCH_ARGS)

soak: $(VENV)/.run ## Floods beside an honest client, storms, half an hour of idle clients (SOAK_ARGS=--quick)
	$(BIN)/python bench/soak.py $(SOAK_ARGS)

fuzz: $(VENV)/.dev ## Look for inputs that no parser expects (MINUTES=10; needs Python 3.11 to 3.13)
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q 'atheris>=3'
	$(BIN)/python tests/fuzz/run.py --minutes $(MINUTES)

conformance: $(VENV)/.dev $(H2SPEC)/h2spec ## Run all cases of Autobahn (WebSocket) and h2spec (HTTP/2)
	$(BIN)/python tests/conformance/conformance.py

clean: ## Remove what the other targets made
	rm -rf .venv .venv-* build bench/bin $(SDK_JS)/node_modules web/node_modules .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Flyball needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

# Stamps: quick the second time, again when the dependencies change.
$(VENV)/.run: pyproject.toml | $(BIN)/python
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python --editable .
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
endif
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
ifdef UV
	$(UV) pip install --quiet --python $(BIN)/python --editable . --group dev
else
	# Dependency groups need pip 25.1.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
endif
	touch $@ $(VENV)/.run

# Types of the page, and whether the files of the package are those that its sources make.
WEB_FILES := $(wildcard web/*.*) $(shell find web/src web/public src/flyball/server/admin/web_built -type f)
web/node_modules/.checked: web/node_modules/.stamp $(WEB_FILES)
	cd web && $(NPM) run --silent check
	touch $@

web/node_modules/.stamp: web/package.json web/package-lock.json
	command -v $(NPM) >/dev/null || { echo "building the admin page needs Node.js and npm" >&2; exit 1; }
	cd web && $(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

$(SDK_JS)/node_modules/.stamp: $(SDK_JS)/package.json $(wildcard $(SDK_JS)/package-lock.json)
	command -v $(NPM) >/dev/null || { echo "the tests with centrifuge-js need Node.js and npm" >&2; exit 1; }
	cd $(SDK_JS) && $(NPM) ci --no-audit --no-fund --loglevel=error
	touch $@

$(PEBBLE)/pebble: | $(BIN)/python
	command -v $(GO) >/dev/null || { echo "the tests with an ACME server need Go, 1.21 or newer" >&2; exit 1; }
	GOBIN=$(abspath $(PEBBLE)) $(GO) install \
		github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv@$(PEBBLE_VERSION) \
		github.com/letsencrypt/pebble/v2/cmd/pebble@$(PEBBLE_VERSION)

$(H2SPEC)/h2spec: | $(BIN)/python
	command -v $(GO) >/dev/null || { echo "the conformance cases for HTTP/2 need Go, 1.21 or newer" >&2; exit 1; }
	GOBIN=$(abspath $(H2SPEC)) $(GO) install github.com/summerwind/h2spec/cmd/h2spec@$(H2SPEC_VERSION)
