# The commands people type; .ci/run types the same ones. `make help` lists them.
PYTHON ?= python3
# A CPU build. Where pip knows several, this pin keeps gigabytes of CUDA away (docs/testing.md).
TORCH ?= torch==2.13.0
PROCESSES ?= logical
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet --quiet --constraint constraints.txt
# What `make quick` runs: no other program, no daemon, no training.
QUICK := tests/filterd/reading/test_text.py tests/filterd/reading/test_unicode.py \
	tests/filterd/reading/test_words.py tests/filterd/scoring tests/filterd/mailboxes tests/filterd/promotion \
	tests/filterd/test_config.py tests/filterd/test_headers.py tests/plugins/sms/test_wire.py \
	tests/plugins/milter/test_wire.py tests/plugins/smtp_proxy/test_wire.py

# The tests of the packages that pyproject.toml names under tool.coverage, but for those with a browser.
COVERED := $(filter-out %_chromium.py %_differential.py, $(wildcard tests/filterd/reading/test_*.py)) \
	tests/filterd/scoring tests/filterd/mailboxes tests/filterd/promotion

.PHONY: help demo setup check quick coverage test bench fuzz clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/pip:
	@echo "Making a virtual environment in $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit("filterd needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/pip pyproject.toml
	@echo "Installing filterd and its CPU runtime …"
	@$(PIP) -e '.[cpu]'
	@touch $@

$(VENV)/.develop: $(VENV)/.run
	@echo "Installing the trainer and the test tools …"
	@$(PIP) '$(TORCH)'
	@$(PIP) -e '.[cpu,train,test]'
	@$(PIP) loguru certifi
	@$(PIP) --no-deps twilio  # the tests' peer for its signature; of the package they import one module
	@$(PIP) --no-deps aiospamc  # the tests' peer; its command line, which we do not use, wants an old typer
	@touch $@

demo: $(VENV)/.run  ## set everything up and judge real messages with the default bundle
	@$(BIN)/filterd check examples/*/*

setup: $(VENV)/.develop  ## install everything that developing needs into .venv

check: $(VENV)/.develop  ## style, types, import rule, docs in step with the code, branch coverage
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_imports.py tests/test_docs.py
	@$(MAKE) --no-print-directory coverage

quick: $(VENV)/.develop  ## style, and the tests of pure code: under a minute
	@$(BIN)/ruff check .
	@$(BIN)/pytest -q -m "not slow" $(QUICK)

coverage: $(VENV)/.develop  ## how much of the branches of pure code its tests reach; below the floor it fails
	@$(BIN)/coverage run -m pytest -q -m "not slow" $(COVERED)
	@$(BIN)/coverage report

test: $(VENV)/.develop  ## run the tests, a file at a time in each of PROCESSES (a process a core, up to four)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(PROCESSES) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.develop  ## measure speed against the peers; prints medians and ratios
	@$(BIN)/python -m tests.bench

fuzz: $(VENV)/.develop  ## read mutated mails for SECONDS (60): nothing raises, 0.3 s of CPU and 60 MB a mail
	@$(BIN)/python -m tests.fuzz $(or $(SECONDS),60)

clean:  ## remove what the targets above made
	rm -rf $(VENV) build .coverage *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
