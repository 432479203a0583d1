PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes of the tests, of one thread each; 0: pytest's own. The tests of a file stay together.
WORKERS ?= 2

.PHONY: demo test test-trl test-verl test-vllm test-wheel docs check setup postgres chromium base-model clean

demo: setup
	$(BIN)/mmupt demo

test: setup postgres chromium
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Rounds by TRL's trainer, in an environment of its own: TRL brings much that nobody else needs.
test-trl: .venv-trl/.installed
	.venv-trl/bin/pytest tests/trl

.venv-trl/.installed: pyproject.toml constraints.txt
	test -x .venv-trl/bin/python || $(PYTHON) -m venv .venv-trl
	.venv-trl/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,trl]'
	touch $@

# Batches of verl, likewise. verl takes an older transformers than ours, so that mmupt comes without
# its dependencies; the file names them all.
test-verl: .venv-verl/.installed
	.venv-verl/bin/pytest -p no:asyncio -W ignore tests/verl

.venv-verl/.installed: pyproject.toml constraints-verl.txt
	test -x .venv-verl/bin/python || $(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip install --quiet --requirement constraints-verl.txt
	.venv-verl/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

# Exported models behind vLLM's CPU build, in an environment of its own, asked from the project's.
# torchaudio and torchcodec go again: where only their builds for CUDA are found they do not load,
# and transformers fails where it finds one that does not load.
test-vllm: setup .venv-vllm/.installed
	MMUPT_VLLM=.venv-vllm/bin/python $(BIN)/pytest tests/vllm

.venv-vllm/.installed: constraints-vllm.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --requirement constraints-vllm.txt
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

# The wheel in an empty environment, outside the source tree: its help, and its demo.
test-wheel:
	rm -rf build/wheel && mkdir -p build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
	build/wheel/venv/bin/python -m pip install --quiet --constraint constraints.txt build/wheel/*.whl
	cd build/wheel && venv/bin/mmupt --version && venv/bin/mmupt demo --out demo

# The site of docs/ into build/site; a link that leads nowhere is an error.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site

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

# A PostgreSQL for the tests that write into one from many processes: they start it themselves, so
# Debian's package shall neither make nor start one. Where it cannot be installed they are skipped.
postgres:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql-common && \
	  sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf && \
	  apt-get install -qq -y --no-install-recommends postgresql; } || \
	  echo "PostgreSQL cannot be installed: the tests that need it are skipped"

# A Chromium for the browser tests, and a font with Japanese; nothing is downloaded by the tests
# themselves. Where it cannot be installed they are skipped.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || test -n "$$CHROMIUM" || { \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium fonts-noto-cjk; } || \
	  echo "Chromium cannot be installed: the browser tests are skipped"

# The embedded base model, from drawn digits only; about a quarter of an hour on two cores.
base-model: setup
	$(BIN)/python scripts/pretrain_base.py --out src/mmupt/embedded/model

clean:
	rm -rf $(VENV) .venv-trl .venv-verl .venv-vllm build dist src/*.egg-info
