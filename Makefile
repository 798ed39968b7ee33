# Two commands: `make demo` (set-up and the whole path), `make test` (set-up, lint, tests).
# Everything is installed into .venv; PYTHON=/path/to/python chooses the interpreter it is made from.

PYTHON ?=
BIN := .venv/bin
READY := .venv/ready
DEMO_CLIPS ?= 12000
NOW := $(shell date -u +%Y%m%dT%H%M%SZ)

.PHONY: help demo test lint test-slow test-tensorflow gate reference native setup setup-tensorflow clean

help:
	@echo "make demo       speak a corpus, train a teacher, distil, export to int8, measure (about ten minutes)"
	@echo "make test       lint and tests"
	@echo "make lint       ruff, mypy and the floors of docs/architecture.md"
	@echo "make test-slow  the tests that take longer"
	@echo "make test-tensorflow  the second backend and its runtimes, in .venv-tensorflow (3 GB)"
	@echo "make gate       does what we export today cost more than benchmarks/reference (under a minute)"
	@echo "make reference  puts what we export today in the place of benchmarks/reference"
	@echo "make native     the runner for phones, for every kind of device that this computer has a compiler for"
	@echo "make setup      only the environment, .venv"
	@echo "make clean      removes .venv, .venv-tensorflow and caches; runs/, exports/ and data/ stay"

setup: $(READY)

$(READY): setup.cfg pyproject.toml constraints.txt .ci/environment
	@PYTHON="$(PYTHON)" bash .ci/environment

setup-tensorflow: .venv-tensorflow/ready

.venv-tensorflow/ready: setup.cfg pyproject.toml constraints-tensorflow.txt .ci/environment
	@PYTHON="$(PYTHON)" bash .ci/environment tensorflow

demo: $(READY)
	$(BIN)/tkd-data synth --out data/demo --clips $(DEMO_CLIPS) --seed 1
	$(BIN)/tkd-train demo --resume
	$(BIN)/tkd-export --checkpoint runs/demo/student-lambda-0.1.safetensors --data data/demo --int8 --force
	$(BIN)/tkd-bench --device host --output runs/demo/bench-$(NOW) exports/tcresnet8-float32 exports/tcresnet8-int8

test: lint
	$(BIN)/python -m pytest -m "not slow and not gpu and not phone and not tensorflow" --cov --cov-report=term:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-tensorflow: .venv-tensorflow/ready
	.venv-tensorflow/bin/python -m pytest -m tensorflow tests/tensorflow_route

gate: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/gate

reference: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash .ci/gate --renew

native: $(READY)
	$(BIN)/tkd-bench engine build

clean:
	rm -rf .venv .venv-tensorflow build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
