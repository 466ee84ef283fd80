# fttcp: `make help` tells what there is.
PYTHON ?= python3
FUZZ_SECONDS ?= 60
ARGS ?=
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
FTTCP ?= $(abspath $(BIN)/fttcp)

VENV := .venv
BIN := $(VENV)/bin
NATIVE_C := $(shell find native/engine -name "*.c")
NATIVE_H := $(shell find native/core native/engine -name "*.h")
FAST_TESTS := $(wildcard tests/unit tests/property tests/sim)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help packages build demo install test check lint native-test fuzz model bench deb clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

packages:
	@scripts/debian-packages

$(VENV)/.python: pyproject.toml setup.py $(wildcard fttcp/__init__.py lab/__init__.py) | packages
	$(PYTHON) -m venv $(VENV)
	FTTCP_WITHOUT_NATIVE=1 $(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.native: $(wildcard native/ffi/*.py) $(NATIVE_C) $(NATIVE_H) $(VENV)/.python
	$(BIN)/python setup.py --quiet build_ext --force --build-lib build/native
	@mv -f build/native/fttcp/_ftt.* fttcp/  # a rename: processes that have the old one mapped go on
	@touch $@

SHIM := fttcp/libfttcp-shim.so fttcp/libfttcp-calls.so

$(SHIM): native/programs.py $(wildcard native/shim/* native/calls/*) $(shell find native/core -name "*.h") | packages
	$(PYTHON) native/programs.py $@

CLIENT := fttcp/fttcp-client

$(CLIENT): native/programs.py $(wildcard native/client/*) | packages
	$(PYTHON) native/programs.py $@

LINK := fttcp/fttcp-link

$(LINK): native/programs.py $(wildcard native/link/*) | packages
	$(PYTHON) native/programs.py $@

REPLAY := fttcp/fttcp-replay

$(REPLAY): native/programs.py $(wildcard native/replay/*) $(NATIVE_C) $(NATIVE_H) | packages
	$(PYTHON) native/programs.py $@

BPF := fttcp/fttcp-bpf $(patsubst %,fttcp/fttcp-%.bpf.o,decide follow forward lead)

$(BPF): native/programs.py $(wildcard native/bpf/*) $(shell find native/core -name "*.h") | packages
	$(PYTHON) native/programs.py $@

build: packages $(VENV)/.python $(VENV)/.native $(SHIM) $(CLIENT) $(LINK) $(REPLAY) $(BPF)  ## install what is missing and leave .venv/bin/fttcp

demo: build  ## a download survives the crash of the host that serves it (root)
	$(BIN)/fttcp demo $(ARGS)

# Files are taken in their order: those on real kernels first, which wait half of the time; the many small ones fill the end.
test: build native-test  ## all tests, JOBS files side by side; those on real kernels need root
	$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: build lint  ## lint, types and the fast tests
	$(BIN)/pytest -n $(JOBS) $(FAST_TESTS) $(ARGS)

lint: $(VENV)/.native  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy fttcp lab

native-test: | packages
	$(MAKE) --no-print-directory -C native/fuzz check
	$(MAKE) --no-print-directory -C native/tests freestanding
	$(MAKE) --no-print-directory -j$(JOBS) -C native/tests run

fuzz: | packages  ## FUZZ_SECONDS of libFuzzer for each harness in native/fuzz
	$(MAKE) --no-print-directory -C native/fuzz run SECONDS=$(FUZZ_SECONDS)

model: | packages  ## the ownership protocol checked by Spin, and that each rule is needed (8 minutes; ARGS=--quick: 1)
	$(PYTHON) model/check.py $(ARGS)

bench: build  ## the short set of fttcp bench, about 10 minutes (root)
	$(BIN)/fttcp bench --short $(ARGS)

deb: build  ## Debian packages of a node and of the lab, in build/deb
	$(BIN)/python packaging/deb.py

install: build  ## manual pages, completions, systemd units to PREFIX (/usr/local), for the program FTTCP
	PYTHONPATH=. $(BIN)/python packaging/extras.py $(DESTDIR)$(PREFIX) --fttcp $(FTTCP)

clean:  ## remove everything that was built
	rm -rf $(VENV) build native/*/build lab/bench/native/build *.egg-info fttcp/_ftt.* fttcp/_numbers.py $(SHIM) $(CLIENT) $(LINK) $(REPLAY) $(BPF) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find fttcp lab native tests -name __pycache__ -type d -prune -exec rm -rf {} +
