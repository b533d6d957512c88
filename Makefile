# make demo | test | test-all | test-oldest | notebook | tutorials | lint | docs | bench | quality | audit | lock | torture
# Each sets up .venv by itself, once; test-oldest, docs and audit have environments of their own.
PYTHON := .venv/bin/python
DEMO := runs/demo
# A process that has done its own tests takes over half of what the other still has, so neither ends alone.
SHARED_OUT := -n 2 --dist worksteal --durations=20

.PHONY: setup demo test test-all test-oldest notebook tutorials lint format docs bench quality audit lock torture

setup: .venv/.ready

.venv/.ready: requirements.txt requirements-dev.txt pyproject.toml tools/setup.sh
	@sh tools/setup.sh

demo: .venv/.ready
	@sh tools/demo.sh $(DEMO)

test: .venv/.ready
	@$(PYTHON) -m pytest $(SHARED_OUT)

test-all: .venv/.ready
	@COMPSEG_TESTS=thorough $(PYTHON) -m pytest $(SHARED_OUT) -m "slow or not slow"

test-oldest: .venv-oldest/.ready
	@.venv-oldest/bin/python -m pytest $(SHARED_OUT)

.venv-oldest/.ready: requirements.txt requirements-dev.txt requirements-oldest.txt pyproject.toml tools/setup.sh
	@sh tools/setup.sh oldest

tutorials: .venv/.ready
	@$(PYTHON) -m pytest tests/test_tutorials.py -m "slow or not slow"

notebook: .venv/.ready
	@$(PYTHON) -m pytest tests/test_quickstart.py -m "slow or not slow"

lint: .venv/.ready
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

format: .venv/.ready
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: .venv-docs/.ready
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

.venv-docs/.ready: requirements-docs.txt
	@sh tools/docs_setup.sh

bench: .venv/.ready
	@peer=$$(sh tools/bench_setup.sh) && $(PYTHON) -m benchmarks --peer-python "$$peer" $(BENCH)

quality: .venv/.ready
	@$(PYTHON) -m benchmarks.quality $(QUALITY)

audit:
	@sh tools/audit.sh

# Takes the newest releases: make lock LOCK=--upgrade
lock:
	@sh tools/lock.sh $(LOCK)

torture: .venv/.ready
	@$(PYTHON) -m torture $(TORTURE)
