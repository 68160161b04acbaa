# Needs only Python 3.11 or later; every target creates .venv first.
#
#   make demo      trains the demonstration and prints its report's path  (at most 6 minutes on 2 cores)
#   make test      the fast tests, with .venv only                        (at most 5 minutes on 2 cores)
#   make test-all  all tests except soak and peers, with the coverage gate; .ci/run runs it
#   make peers     comparisons with other libraries, in separate environments, which it creates first
#   make soak      the long tests
#   make check     lint, format, types, documents
#   make docs      builds the documentation as static pages in site/, with tools of an environment of its own

PYTHON := $(shell for name in python3.11 python3; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$name; break; fi; done)
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps

# Marks of the tests that `make test` leaves out, and of those that only their own targets run.
SLOWER := slow or sandbox or documents or wheel
ELSEWHERE := soak or peers
# Two test files in parallel, one thread each.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

PEERS := .envs/verifiers/.installed .envs/verifiers_legacy/.installed .envs/verl/.installed

.PHONY: demo test test-all peers soak check lint types documents docs

demo: $(INSTALLED)
	$(BIN)/poziomka train recipes/exact_change/recipe.toml --run runs/demo

test: $(INSTALLED)
	$(PYTEST) -m "not ($(ELSEWHERE) or $(SLOWER))"

test-all: $(INSTALLED)
	$(PYTEST) -m "not ($(ELSEWHERE))" --cov=poziomka.core --cov=poziomka.runs \
		--cov=poziomka.inference --cov-branch --cov-fail-under=95

peers: $(INSTALLED) $(PEERS)
	$(BIN)/python -m pytest -m peers

check: lint types documents

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

documents: $(INSTALLED)
	$(BIN)/python -m pytest tests/test_documents.py

docs: $(INSTALLED) .envs/docs/.installed
	@$(BIN)/python docs/site/reference.py build/reference
	@NO_MKDOCS_2_WARNING=1 .envs/docs/bin/python -m mkdocs --quiet build --strict
	@echo "The documentation is at site/index.html (to search in it: python3 -m http.server -d site)"

soak: $(INSTALLED)
	$(BIN)/python -m pytest -m soak

# The lock is installed without dependency resolution, so every machine gets the same packages.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { \
		echo "Poziomka needs Python 3.11 or later: found $$(python3 --version 2>/dev/null || echo none);" \
			"install it and have python3.11 or python3 on the PATH." >&2; exit 1; }
	@echo "Making .venv from requirements.lock (once, a minute or two) …"
	@$(PYTHON) -m venv .venv
	@$(PIP) -r requirements.lock
	@$(PIP) --no-build-isolation -e .
	@touch $@

# Separate environments: for the libraries that the adapters' tests import and that conflict with our own packages, and
# for the tools of `make docs`.
.envs/%/.installed: tests/adapters/%-requirements.lock | $(INSTALLED)
	@$(call environment,$*,$<)

.envs/docs/.installed: docs/requirements.lock | $(INSTALLED)
	@$(call environment,docs,$<)

define environment
	test -n "$(PYTHON)" || { echo "Poziomka needs Python 3.11 or later on the PATH." >&2; exit 1; }; \
	echo "Making .envs/$(1) from $(2) (once, half a minute) …"; \
	$(PYTHON) -m venv --without-pip .envs/$(1) && \
	$(BIN)/python -m pip --python .envs/$(1)/bin/python install -qq --disable-pip-version-check --no-compile --no-deps \
		-r $(2) && \
	touch $@
endef
