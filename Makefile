# Everything runs in .venv, which is made on first use. `make` alone lists the targets.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup demo test prove check bench evidence docs clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with the pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) was not found; name a Python of 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1 | cut -d" " -f2); name another: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip --disable-pip-version-check install -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: export LOCO_HOME ?= $(CURDIR)/demo-home
demo: $(STAMP)  ## Find, catalogue and apply directions on the embedded model; the page is demo/index.html
	@trap '$(BIN)/loco server stop' EXIT; trap 'exit 130' INT TERM; $(BIN)/loco demo --out demo

test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)  ## Run the tests, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

prove: $(STAMP)  ## Run the slow tests: the same claims at full size
	$(BIN)/python -m pytest -m slow

check: $(STAMP)  ## Lint, formatting, types, import floors, generated documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check docs/cli.md docs/architecture.md docs/method.md docs/scorers.md docs/evidence.md README.md

bench: $(STAMP)  ## Measure the speed of discovery, bulk application and the catalogue
	$(BIN)/loco bench discover
	$(BIN)/loco bench apply
	$(BIN)/python benchmarks/catalogue.py

evidence: $(STAMP)  ## Judge the method, its controls and the paper's claims; the page is evidence/index.html
	@$(BIN)/loco evaluate --claims --out evidence || { code=$$?; [ $$code -eq 3 ]; }  # 3: a bar is missed, and told

docs: $(STAMP)  ## Write the generated parts of the documentation anew
	$(BIN)/cog -r docs/cli.md docs/architecture.md docs/method.md docs/scorers.md docs/evidence.md README.md

clean:  ## Remove caches, builds and the demonstration; .venv stays
	rm -rf build dist demo demo-home .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find cli docs flows loco registry tests -type d -name __pycache__ -prune -exec rm -rf {} +
