# Every target sets up what it needs: `make test` on a fresh clone is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test faults bench lint format docs lock audit clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "scimpipe needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12 install" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: install
	$(BIN)/scimpipe demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tests/scimmy/node_modules: tests/scimmy/package-lock.json
	@if command -v npm >/dev/null; then cd tests/scimmy && npm ci --silent --no-audit --no-fund; else echo "no npm: tests against SCIMMY will be skipped"; fi

test: install lint
	@$(MAKE) --no-print-directory tests/scimmy/node_modules
	$(BIN)/pytest -n auto --dist loadscope --no-loadscope-reorder

# The whole fault suite (docs/reliability.md): under 15 minutes on 2 cores. A short form is part of `make test`.
faults: install
	FAULTS=full $(BIN)/pytest -v -n 5 --dist load --maxschedchunk 1 tests/faults

# Measures, beside bare loops in the same run, and writes bench/RESULTS.md.
bench: install .venv-bench/.installed
	$(BIN)/python -m bench

.venv-bench/.installed: requirements/bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements/bench.txt
	@touch $@

# Generated pages: docs/configuration.md from the settings models.
docs: install
	$(BIN)/python -m config.reference > docs/configuration.md

# New pins (needs uv): resolves pyproject.toml for every platform, with hashes and without any index address.
lock:
	$(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --upgrade pyproject.toml --group dev --output-file requirements/dev.txt
	$(PYTHON) -m uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --constraints requirements/dev.txt pyproject.toml --output-file requirements/run.txt

# Known vulnerabilities of the pinned packages, by pip-audit, which lives apart in .venv-audit. SERVICE: pypi, osv or esms.
SERVICE ?= pypi
audit: .venv-audit/.installed
	.venv-audit/bin/python requirements/audit.py $(SERVICE)

.venv-audit/.installed: requirements/audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements/audit.txt
	@touch $@

clean:
	rm -rf $(VENV) .venv-audit .venv-bench build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
