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

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(STAMP)

# The embedded base model, from drawn digits only; about a quarter of an hour on two cores.
base-model: setup
	$(BIN)/python scripts/pretrain_base.py --out src/mmupt/embedded/model

clean:
	rm -rf $(VENV) build dist src/*.egg-info
