# `make demo` and `make test` need Python 3.11+, git and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format docs bench mutate fuzz sbom lock clean

demo: $(VENV)/.installed
	$(BIN)/omninode run "Find where retries and circuit breakers are configured, explain how they work together, and suggest tests for the edge cases" --workspace . --simulate

test: $(VENV)/.installed-dev
	$(BIN)/python tools/browser.py
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tools/house_rules.py
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-dev
	$(BIN)/python tools/settings_table.py
	$(BIN)/python tools/command_table.py

bench: $(VENV)/.installed
	$(BIN)/omninode bench

mutate: $(VENV)/.installed-dev
	$(BIN)/python tools/mutate.py

sbom: $(VENV)/.installed
	$(BIN)/python tools/sbom.py > sbom.cdx.json

# Two minutes for each reader of what others send; needs `pip install atheris` in $(VENV).
fuzz: $(VENV)/.installed-dev
	for name in events tasks normaliser decoders secrets records parts scans answers restoring redacting policies; do \
		$(BIN)/python tools/fuzz/fuzz.py $$name -max_total_time=120 -max_len=2000 || exit 1; \
	done

lock: $(VENV)/.installed-dev
	$(BIN)/python tools/lock.py

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

clean:
	rm -rf $(VENV)
