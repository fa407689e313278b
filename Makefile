# Every target does its own set-up: the first call makes .venv and installs into it, later calls start at once.
#   make demo [INPUT=my.mp4]   restore a compressed face video and show the gain
#   make test                  the tests            make check   the tests, and format, lint, types, import rules
#   make readme-assets         the README's picture and tables anew
#   make setup                 the set-up alone     make clean   removes .venv and what demo and caches left
.DEFAULT_GOAL := help
.PHONY: help setup demo readme-assets test check format clean
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := requirements.txt requirements-basicsr.txt requirements-dev.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile
INPUT ?=

help:
	@sed -n 's/^#   /  /p' Makefile

setup: $(STAMP)

$(STAMP): $(REQUIREMENTS)
	@for candidate in $(or $(PYTHON),python3 python3.12 python3.11 python3.10 python); do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "error: Python 3.10, 3.11 or 3.12 is needed, found $$($(or $(PYTHON),python3) --version 2>&1 | head -n 1); install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; \
	fi; \
	if [ ! -x $(BIN)/python ]; then \
	  echo "setting up $(VENV) with $$($$found --version)"; \
	  $$found -m venv $(VENV) || { rm -rf $(VENV); echo "error: $$found cannot make virtual environments; install its venv module (Debian: python3-venv)" >&2; exit 2; }; \
	fi
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -r requirements-basicsr.txt
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m keyframes_gan.demo $(if $(INPUT),--input "$(INPUT)") --output demo

readme-assets: $(STAMP)
	$(BIN)/python -m keyframes_gan.demo --output demo
	$(BIN)/python benchmarks/readme_picture.py demo
	$(BIN)/python benchmarks/table.py --write

test: $(STAMP)
	$(PYTEST)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy keyframes_gan archs data losses train.py preprocessing.py video_inference.py compute_metrics.py benchmark.py predict.py
	$(BIN)/lint-imports
	$(PYTEST)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
