# Every way to build, check and run robustnoise. Works with GNU make 3.81 and a POSIX shell.

PYTHON ?= python3
VENV ?= .venv
PYTEST_FLAGS ?= -n 2 --dist worksteal
PIP_FLAGS ?= --quiet

SHELL = /bin/sh
BIN = $(VENV)/bin
STAMP = $(VENV)/.robustnoise-installed
PIP_INSTALL = $(BIN)/python -m pip --disable-pip-version-check install $(PIP_FLAGS) -c constraints.txt

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help install demo test test-all check format bench screenshots wheel

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) PYTEST_FLAGS='$(PYTEST_FLAGS)'"

install: $(STAMP)  ## create the virtual environment with all development tools (once)

# torch goes first: ART and Foolbox don't declare it, and pip must settle on the pinned build before anything else.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "robustnoise needs Python 3.11 or newer; '$(PYTHON)' is `$(PYTHON) --version 2>&1`." >&2; \
	  echo "Name another one: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' can't create virtual environments: its module ensurepip or venv is missing." >&2; \
	  echo "On Debian and Ubuntu, install the package python3-venv; or name another Python: make install PYTHON=..." >&2; \
	  exit 1; }
	@echo "Installing into $(VENV); the first time takes a few minutes."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

demo: install  ## run the demonstration
	$(BIN)/robustnoise demo

test: install  ## run the tests, without the slow ones
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-all: install  ## run all tests, the slow ones too
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m ""

check: install  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install  ## measure the speed beside other libraries and write docs/performance.md
	$(BIN)/python -m benchmarks.performance

screenshots: install  ## draw the documents' pictures of boards; needs Chromium
	$(BIN)/python -m tools.screenshots

wheel: install  ## build sdist and wheel into dist/ and check the wheel's top-level names
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	@$(BIN)/python -c 'import sys, zipfile; \
	names = {n.split("/")[0] for n in zipfile.ZipFile(sys.argv[1]).namelist()}; \
	found = sorted(n for n in names if not n.endswith(".dist-info")); \
	wanted = ["robustnoise", "robustnoise_attacks", "robustnoise_defenses"]; \
	print(sys.argv[1], "holds", ", ".join(found)); \
	sys.exit(0 if found == wanted else "expected exactly " + ", ".join(wanted))' dist/*.whl
