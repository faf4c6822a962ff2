# The two doors: `make boot` shows a guest, `make test` tests everything. PYTHON names another interpreter.
PYTHON ?= python3

boot: .venv/installed
	@.venv/bin/bringup boot linux-debian12-cloud

test: .venv/installed
	@.venv/bin/tox run

.venv/installed: pyproject.toml setup.py $(wildcard vmm/core/*.[ch] vmm/core/*/*.[ch] vmm/core/build.py) | system
	@echo "Installing into .venv (compiles the core)"
	@$(PYTHON) -m venv .venv && .venv/bin/pip install --quiet --editable '.[dev]' && touch $@

system:
	@$(PYTHON) harness/system.py $(filter test,$(MAKECMDGOALS))

.PHONY: boot test system
