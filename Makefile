# Everything sets itself up: Python 3.11 and make are all that is needed beforehand.
# AGGCTL_REQUIRE_TIERS=1 turns a tier that cannot run into a failure (CI does).

PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
STAMP := $(VENV)/.synced
# Compiled once, not at each of the hundreds of starts that the tests make.
unexport PYTHONDONTWRITEBYTECODE
# What needs servers mostly waits for them: one file of tests per worker, one worker more than there are cores.
TESTS ?= tests/e2e tests/workflows tests/system tests/cli
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
# What a real node runs besides; its tier needs root and Debian's packages.
NODE_PROGRAMS := $(shell [ $$(id -u) = 0 ] && command -v containerd >/dev/null \
  && echo kubelet kube-scheduler kube-proxy metrics-server)
PYTEST := $(VENV)/bin/python -m pytest -p no:cacheprovider

.PHONY: demo test check bench format readme picture zipapp dist clean

demo: $(STAMP)
	@$(VENV)/bin/aggctl sandbox demo

test: $(STAMP)
	-@$(VENV)/bin/aggctl sandbox build  # first: a build takes longer than a test may
	-@[ -z "$(NODE_PROGRAMS)" ] || $(VENV)/bin/aggctl sandbox build $(NODE_PROGRAMS)
	$(VENV)/bin/coverage run -m pytest -p no:cacheprovider tests/core
	$(VENV)/bin/coverage report --include='aggctl/core/*' --fail-under=100
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(STAMP)
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

bench: $(STAMP)
	@$(VENV)/bin/python bench/run.py

format: $(STAMP)
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

readme: $(STAMP)
	@PYTHONPATH=tests $(VENV)/bin/python tests/support/readme_tables.py

picture: $(STAMP)
	@$(VENV)/bin/aggctl sandbox build
	@PYTHONPATH=tests $(VENV)/bin/python tests/support/picture.py

# one file for nodes without a network; `dist` makes the other things that are handed out, too
zipapp dist: $(STAMP)
	@$(VENV)/bin/python -m release $@

clean:
	rm -rf $(VENV) dist

# ensurepip is what Debian splits off into python3-venv; name the package rather than fail with a traceback.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'aggctl needs Python 3.11 or later: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'Python lacks venv. On Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(UV): $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@touch $(UV)

$(STAMP): $(UV) pyproject.toml uv.lock
	$(UV) sync --locked --quiet --compile-bytecode
	@touch $(STAMP)
