# Every verb installs what it needs into .venv first (tools/bootstrap). ARGS="..." is handed to what it runs.
.POSIX:
.SUFFIXES:

BIN = .venv/bin
# Tests that share a host or an installation run in one process (tests/conftest.py); PARALLEL= runs all in one.
PARALLEL = --numprocesses=auto --maxprocesses=4 --dist=loadscope --no-loadscope-reorder

.PHONY: help demo test lint format bench docs lock clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1 - \2/p' Makefile

demo: ## damage a throw-away host, watch the recovery and sign it
	@tools/bootstrap demo
	@$(BIN)/reinstate demo $(ARGS)

test: ## run every test this machine can run
	@tools/bootstrap test
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

lint: ## check style, types and the direction of imports
	@tools/bootstrap lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## format the code and fix what can be fixed
	@tools/bootstrap format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: ## measure
	@tools/bootstrap bench
	$(BIN)/python -m tests.bench $(ARGS)

docs: ## build the documentation into build/site
	@tools/bootstrap docs
	$(BIN)/mkdocs build --strict $(ARGS)

lock: ## resolve the dependencies again; ARGS=--upgrade takes the newest
	@tools/bootstrap lock
	tools/lock $(ARGS)

clean: ## remove the demo and every cache; keeps .venv
	rm -rf .demo build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
