# Everything runs inside .venv; the first `make serve` makes it.
#
# Windows has no make:   py scripts\setup.py          (or py -m venv .venv, then the two commands that it runs:
#                                                      .venv\Scripts\python -m pip install --require-hashes -r constraints.txt
#                                                      .venv\Scripts\python -m pip install --no-deps --no-build-isolation -e .)
#                        .venv\Scripts\chinwag serve

BIN := .venv/bin
# PYTHON=/path/to/python chooses the interpreter; else .venv's own, or the newest that runs and is 3.11 to 3.13
FIND_PYTHON = for python in $(PYTHON) $(BIN)/python python3.13 python3.12 python3.11 python3 python; do \
	if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then \
	echo "Chinwag needs Python 3.11, 3.12 or 3.13, and none was found." >&2; \
	echo "Debian, Ubuntu: sudo apt install python3.12 python3.12-venv   macOS: brew install python@3.12" >&2; \
	exit 1; fi

TEST_WEIGHTS := silero-vad smart-turn moonshine-tiny-en qwen2.5-coder-0.5b kokoro kokoro-voices

# Two processes, each with whole modules; PARALLEL= for one. The shared server's tests come first, in one of them.
PARALLEL := -n 2 --dist loadscope --no-loadscope-reorder --durations=60

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev serve test test-all test-extras check check-docker bench soak audit constraints clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup:  ## make .venv with what Chinwag runs on
	@$(FIND_PYTHON); "$$found" scripts/setup.py

setup-dev:  ## … and with what its tests and checks need
	@$(FIND_PYTHON); "$$found" scripts/setup.py --dev

serve: setup  ## start Chinwag at http://localhost:8000 (ARGS="--port 9000" for flags)
	@$(BIN)/chinwag serve $(ARGS)

test: setup-dev  ## every test, a real browser's among them (ARGS="-m unit" for some)
	@$(BIN)/chinwag models pull $(TEST_WEIGHTS) & weights=$$!; \
	browser="$$($(BIN)/python scripts/fetch_browser.py)" && postgres="$$($(BIN)/python scripts/fetch_postgres.py)" && \
	wait $$weights && \
	CHINWAG_BROWSER="$$browser" CHINWAG_POSTGRES="$$postgres" $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-all: setup-dev  ## also the long forms: fuzzing, races, a bad link, every JavaScript client; then extras and a soak
	@$(MAKE) --no-print-directory test ARGS="--long $(ARGS)"
	@$(MAKE) --no-print-directory test-extras TORCH=1 ARGS=
	@$(MAKE) --no-print-directory soak ARGS=

test-extras: setup-dev  ## the extras as people install them (ARGS="whisper" for some; TORCH=1: those with torch too)
	@$(BIN)/python scripts/test_extras.py $(if $(TORCH),--torch) $(ARGS)

check: setup-dev  ## lint, format, types (also of the page), import rule
	@$(BIN)/ruff check --no-cache
	@$(BIN)/ruff format --check --no-cache
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_page.py

check-docker: setup-dev  ## build and start the images without Docker, as root (ARGS="--keep cpu" for one)
	@$(BIN)/chinwag models pull $(TEST_WEIGHTS)
	@$(BIN)/python scripts/check_docker.py $(ARGS)

bench: setup  ## measure latency at the client's ear (ARGS="--turns 5")
	@mkdir -p bench-out
	@$(BIN)/chinwag bench latency --json bench-out/latency.json $(ARGS)

soak: setup-dev  ## talk for long and look what grows (MINUTES=30, ARGS="--talkers 2 --json FILE")
	@$(BIN)/python scripts/soak.py --minutes $(or $(MINUTES),30) $(ARGS)

audit: setup-dev  ## ask whether any pinned dependency has a known hole (ARGS=--strict: fail where nobody can be asked)
	@$(BIN)/python scripts/audit.py $(ARGS)

constraints: setup  ## pin every dependency again, at its newest
	@$(BIN)/python scripts/pin.py --upgrade

clean:  ## remove .venv, .venv-extras and what tools left behind
	@rm -rf .venv .venv-extras build dist bench-out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests scripts benchmarks research -name __pycache__ -type d -prune -exec rm -rf {} +
