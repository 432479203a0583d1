PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check setup base-model clean

demo: setup
	$(BIN)/mmupt demo

test: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: $(STAMP)

# torchvision, which the tests of some processors need, lies beside the environment: its wheels do not
# load with torch for CPUs, and transformers fails where it finds one that does not load.
# tests/conftest.py makes it load.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --target $(VENV)/torchvision torchvision
	touch $(STAMP)

# The embedded base model, from drawn digits only; about a quarter of an hour on two cores.
base-model: setup
	$(BIN)/python scripts/pretrain_base.py --out src/mmupt/embedded/model

clean:
	rm -rf $(VENV) build dist src/*.egg-info
