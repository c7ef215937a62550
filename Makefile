# make run     try Hot Potato: everything it needs, then the daemon with a demo tenant and phone
# make test    everything it needs, then the tests; ARGS="-k watchdog" for some of them
# make lint    what has to be clean: ruff, mypy, the import linter, vermin
# make bench   how fast it is
# make soak    half an hour at half of the full rate: does anything grow? ARGS="--seconds 120" for less
# make chaos   10,000 deaths, and databases and providers that fail in every way: the better part of an hour;
#              ARGS="--seconds 3600 --seed 7" for more of it
# make lock    take the newest versions of the dependencies into requirements/dev.txt
# make clean   remove what make has made, but not var/, the data of `make run`
#
# Needed: Python 3.11 or newer with venv and pip. Another Python: make PYTHON=python3.13

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Not $(CURDIR) and no absolute path anywhere: the checkout may lie under a name with spaces.
DEPENDENCIES := $(VENV)/.dependencies
READY := $(VENV)/.ready

.DELETE_ON_ERROR:
.PHONY: run test lint bench soak chaos lock clean

run: $(READY)
	@$(BIN)/hotpotato demo

test: $(READY)
	$(BIN)/python -m pytest -q -n auto --dist worksteal $(ARGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --violations -t=3.7- hotpotato/notify.py

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.storm

soak: $(READY)
	$(BIN)/python -m benchmarks.soak $(ARGS)

chaos: $(READY)
	$(BIN)/python -m pytest -q -n auto --dist worksteal tests/chaos --seconds 300 $(ARGS)

$(READY): setup.py pyproject.toml hotpotato/__init__.py $(DEPENDENCIES)
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The interpreter is a prerequisite, so that a new one in place of the old makes a new environment.
$(DEPENDENCIES): requirements/dev.txt $(BIN)/python
	@echo "Installing what Hot Potato needs into $(VENV); the first time this takes a minute."
	@$(PIP) install --require-hashes --requirement requirements/dev.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Hot Potato needs Python 3.11 or newer, and $(PYTHON) is not:" \
	        "try make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "Hot Potato needs Python's venv and pip, and $(PYTHON) comes without:" \
	        "on Debian, apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

lock:
	$(PYTHON) -m venv --clear $(VENV)-lock
	$(VENV)-lock/bin/python -m pip --quiet install pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(VENV)-lock/bin/pip-compile --quiet --upgrade \
	    --generate-hashes --allow-unsafe --strip-extras \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	    --extra test --extra lint --output-file requirements/dev.txt setup.py
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) $(VENV)-lock build dist *.egg-info twisted/plugins/dropin.cache
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find hotpotato twisted tests benchmarks examples -name __pycache__ -exec rm -rf {} +
