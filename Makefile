# Needs python3 (3.10 or newer, with venv and pip) and make. Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
BIN := .venv/bin
MODEL := examples/tiny-llama
TEXT := examples/sample.txt
QUANTIZED := tiny-llama-Q4_K_M.gguf

.PHONY: help demo test check types bench fuzz compare clean

help:  ## List what can be made.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed  ## Convert the example at 4 bits, inspect, measure before and after, run.
	$(BIN)/quantize convert $(MODEL) --bits 4 --output $(QUANTIZED) --force
	$(BIN)/quantize inspect $(QUANTIZED)
	$(BIN)/quantize eval $(MODEL) --text $(TEXT) --ctx 256
	$(BIN)/quantize eval $(QUANTIZED) --text $(TEXT) --ctx 256
	$(BIN)/quantize run $(QUANTIZED) --prompt "Once upon a time" --tokens 60

test: .venv/installed-test  ## Run every test.
	$(BIN)/python -m pytest

check: .venv/installed-check  ## Lint, formatting and types, then every test.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) types
	$(MAKE) test

# mypy knows nothing of setuptools' package-dir: it is shown the packages where they are installed, as links.
types: .venv/installed-check  ## Check types.
	rm -rf build/typed
	mkdir -p build/typed/quantize_cli
	ln -s $(addprefix ../../../,$(wildcard quantize_cli/*) formats configs) build/typed/quantize_cli/
	cd build/typed && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p quantize_cli

bench: .venv/installed-test  ## Measure speed beside ggml's C, and peak memory (minutes, 10 GB of disk).
	$(BIN)/quantize bench types
	$(BIN)/python -m tests.bench.memory

fuzz: .venv/installed-test  ## Give every reader 300,000 spoiled files (half an hour on two processors).
	$(BIN)/python -m tests.fuzz --inputs 300000

compare: .venv/installed-test  ## Compare with llama.cpp, the tests that take minutes.
	$(BIN)/python -m pytest -m slow

clean:  ## Remove the virtual environment and all that was built.
	rm -rf .venv build dist *.egg-info $(QUANTIZED)

# Each stamp is newer than pyproject.toml once its dependencies are installed. The package itself is installed as a
# link to this directory, so a changed source needs no second installation.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

.venv/installed-check: .venv/installed-test
	$(BIN)/python -m pip install --quiet --editable '.[test,check]'
	@touch $@
