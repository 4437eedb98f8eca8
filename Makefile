# Set-up and gates. `make demo` and `make test` do everything on a machine that has python3 and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ARGS ?= --parts 60 --rate 5
SUITE ?=
PYTEST_ARGS ?=
# Most tests wait for a clock: three at a time, file by file, because fixtures are dear; tests/conftest.py says in which order.
# A test that crashes its process ends the run: with a new worker in its place xdist may wait for ever.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
LOCK_ARGS ?=
FAULTS_ARGS ?=
ARCH ?= $(shell uname -m)
PY ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

.DEFAULT_GOAL := help
.PHONY: help demo check test test-main test-installed test-all test-gpu faults venv test-venv format docs lock wheelhouse deploy-lint clean

help:
	@echo "make demo      a simulated station, from set-up to report      (DEMO_ARGS=\"$(DEMO_ARGS)\")"
	@echo "make test      check, then all tests but the heavy ones        (PYTEST_ARGS=...)"
	@echo "make test-all  make test, then the heavy suites                (SUITE=sweep: of those that one)"
	@echo "make faults    every fault of the table, and docs/reference/faults.md written anew (15 minutes)"
	@echo "make test-gpu  what only an NVIDIA GPU shows                (PYTHON=python3 of a venv with TensorRT)"
	@echo "make check     format, lint, types, import layers"
	@echo "make format    let ruff format and mend what it can"
	@echo "make docs      write the generated pages of docs/reference anew"
	@echo "make lock      write requirements/ anew from pyproject.toml    (LOCK_ARGS=--upgrade)"
	@echo "make wheelhouse  dist/: what installs a station offline     (ARCH=aarch64 PY=3.10)"
	@echo "make deploy-lint   installer, playbooks, image and manifests by their linters"
	@echo "make clean     remove what these commands made"

demo: venv
	$(BIN)/edge-inspector demo $(DEMO_ARGS)

check: test-venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

test: check test-main test-installed

test-main: test-venv
	tools/system_packages.sh mosquitto cc c++ pdftoppm promtool chromium chromedriver strace unshare systemd-analyze shellcheck
	tools/tests.sh $(BIN)/python $(PARALLEL) $(PYTEST_ARGS)

test-installed: test-venv
	tools/test_installed.sh $(VENV) $(PARALLEL)

test-all: test
	$(BIN)/python -m pytest -s -m heavy -k "$(SUITE)"

faults: test-venv
	tools/system_packages.sh mosquitto cc strace unshare stress-ng taskset chrt
	$(BIN)/python tools/faults.py $(FAULTS_ARGS)

# In the environment that has TensorRT and PyCUDA, which we do not make: see docs/reference/gpu-results.md.
test-gpu:
	EDGE_INSPECTOR_GPU_RESULTS=docs/reference/gpu-results.md $(PYTHON) -m pytest -s -m gpu tests/gpu $(PYTEST_ARGS)

test-venv: venv
	tools/nvidia.sh $(VENV)

venv:
	tools/system_packages.sh $(PYTHON)
	tools/venv.sh $(VENV) $(PYTHON)

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: venv
	$(BIN)/python tools/reference.py

lock:
	tools/system_packages.sh $(PYTHON)
	tools/lock.sh $(PYTHON) $(LOCK_ARGS)

wheelhouse: venv
	tools/wheelhouse.sh $(VENV) $(ARCH) $(PY)

deploy-lint:
	tools/deploy_lint.sh .venv-deploy $(PYTHON)

clean:
	rm -rf .venv .venv-* build dist .*_cache .hypothesis
