# Everything starts here: `make demo` and `make test` set up a fresh machine by themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   ?=

.PHONY: help setup demo test test-slow check wheel bench clean

help:
	@echo "make demo       phantom CTs, TransUNet, label maps, results, report (DEMO=--small for a quick look)"
	@echo "make test       the fast tests"
	@echo "make test-slow  the slow ones"
	@echo "make check      ruff, mypy, import-linter, and whether every config binds"
	@echo "make wheel      a wheel in dist/"
	@echo "make bench      side-by-side measurements"

setup: $(READY)

# torch first and by its exact version: a plain 'torch' may bring another build and its CUDA packages
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/medseg demo -o demo --overwrite $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest -m 'not slow'

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_config.py -k shipped

# a wheel must bring the configs and scripts that `medseg train NAME` and `medseg copy` hand out
wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python -m zipfile --list dist/*.whl | grep medseg/configs/phantom_transunet.yaml >/dev/null
	$(BIN)/python -m zipfile --list dist/*.whl | grep medseg/pipelines/train.py >/dev/null
	$(BIN)/python -m zipfile --list dist/*.whl | grep medseg/report/vendor/niivue.umd.js >/dev/null
	$(BIN)/python -m zipfile --list dist/*.whl | grep medseg/report/page/report.html.j2 >/dev/null

bench: $(READY)
	$(BIN)/python -m benchmarks.slice_loading
	$(BIN)/python -m benchmarks.phantom_threshold
	$(BIN)/python -m benchmarks.forward
	$(BIN)/python -m benchmarks.compare
	$(BIN)/python -m benchmarks.attention
	$(BIN)/python -m benchmarks.evaluate
	$(BIN)/python -m benchmarks.predict_jobs --small
	$(BIN)/python -m benchmarks.decam --exposures 8

clean:
	rm -rf $(VENV) demo build dist
