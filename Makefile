# Every target that needs the environment makes it first; `make` alone prints this help.
.DEFAULT_GOAL := help
.PHONY: help setup demo test soak docs bench lint protocol constraints system-packages wheels clean all

BIN := .venv/bin
READY := .venv/ready
PEER := .peer/ready
INPUTS := pyproject.toml constraints.txt scripts/setup $(wildcard packages/*/pyproject.toml)

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): $(INPUTS)
	@echo "setup: making .venv (once, and again when dependencies change)"
	@scripts/setup

setup: $(READY) ## make .venv: tools, libraries, all packages editable

demo: $(READY) ## drive a virtual board: power, bootloader, login, command
	@$(BIN)/python examples/demo.py

$(PEER): $(READY) scripts/peer constraints.txt
	@echo "setup: making .peer, the published 0.9.0 to talk to"
	@scripts/peer

test: lint system-packages $(PEER) ## everything that has to pass, under 15 minutes
	$(BIN)/python -m pytest

soak: $(READY) system-packages ## the long runs
	$(BIN)/python -m pytest -m soak -rP

docs: $(READY) system-packages ## build the documentation site in dist/docs
	@$(BIN)/python -m sphinx -W --keep-going -q -E -d dist/doctrees docs dist/docs
	@echo "docs: dist/docs/index.html"

bench: $(READY) ## measure calls, streams and values against bare gRPC, and commands against python -c pass
	@$(BIN)/python benchmarks/bench.py
	@$(BIN)/python benchmarks/startup.py

lint: $(READY) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict packages/*/jumpstarter* scripts benchmarks

system-packages: # the Debian packages that real peers come from
	@scripts/system-packages

protocol: $(READY) ## generate the code of jumpstarter-protocol from protocol/
	$(BIN)/python scripts/generate_protocol.py

constraints: $(READY) ## pin the newest versions in constraints.txt
	scripts/constraints

wheels: $(READY) ## build a wheel of every package into dist/
	$(BIN)/uv build --quiet --offline --no-build-isolation --all-packages --wheel --out-dir dist

clean: ## remove everything made here, .venv included
	rm -rf .venv .peer dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

all: test demo docs wheels ## test, demo, docs and wheels
