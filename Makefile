# Every target sets up what it needs; a second run finds it done. `make` explains the targets.
.DEFAULT_GOAL := help
.ONESHELL:
.SHELLFLAGS := -euc
.PHONY: help setup demo up runner test test-tools test-fresh bench chaos lint reset clean
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# Processes that take test files, each with databases of its own. Much of a test is waiting: three keep two cores busy.
JOBS ?= 3
DATA := $(if $(WAGGLE_DATA_DIR),$(WAGGLE_DATA_DIR),var)
# In a folder that is not ours to write, everything goes into the data folder.
VENV ?= $(shell if test -w . && { ! test -e .venv || test -O .venv; }; then echo .venv; else echo "$(DATA)/venv"; fi)
RUN := "$(VENV)/bin/python"

export GOAL REPO
export UV_PYTHON_DOWNLOADS := never
# Trust the certificates that this machine trusts, as pip does: a company's proxy may have its own.
export UV_SYSTEM_CERTS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Processes of the platform start in a third of the time where the bytecode of the first is kept.
unexport PYTHONDONTWRITEBYTECODE

help: ## Explain the targets
	@echo 'Waggle: a control plane for swarms of AI coding agents'
	echo
	awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile
	echo
	echo '  Databases and secrets are kept in $(DATA)/; WAGGLE_DATA_DIR=~/folder makes it another one.'
	echo '  .env.example lists all variables.'

setup: ## Install Python packages from the lock, with uv
	@if [ -e "$(DATA)" ] && ! [ -O "$(DATA)" ]; then
	  echo "$(DATA) belongs to $$(ls -ld "$(DATA)" | awk '{print $$3}'), but you are $$(id -un)." >&2
	  echo "Use a folder of your own, for example: WAGGLE_DATA_DIR=~/waggle-data make $(or $(MAKECMDGOALS),setup)" >&2
	  exit 1
	fi
	if ! mkdir -p "$(DATA)" 2>/dev/null || ! [ -w "$(DATA)" ]; then
	  echo "The folder $(DATA) cannot be written by $$(id -un)." >&2
	  echo "Use a folder of your own, for example: WAGGLE_DATA_DIR=~/waggle-data make $(or $(MAKECMDGOALS),setup)" >&2
	  exit 1
	fi
	if [ -x $(RUN) ] && cmp -s requirements.lock "$(VENV)/installed.lock"; then exit 0; fi
	if ! command -v "$(PYTHON)" >/dev/null || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
	  echo "Waggle needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1 | head -1)." >&2
	  echo "Name another one, for example: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12" >&2
	  exit 1
	fi
	# A home that cannot be written (system accounts) is no place for a cache.
	if [ -z "$${UV_CACHE_DIR:-}" ] && ! [ -w "$${HOME:-/nonexistent}" ]; then
	  export UV_CACHE_DIR="$(DATA)/cache/uv" PIP_NO_CACHE_DIR=1
	fi
	uv="$(DATA)/uv/bin/uv"
	if ! [ -x "$$uv" ]; then
	  echo "Installing uv into $(DATA)/uv"
	  if ! "$(PYTHON)" -m pip install --quiet --target "$(DATA)/uv" uv; then
	    uv=$$(command -v uv) || {
	      echo "uv could not be installed with '$(PYTHON) -m pip' (see above), and there is none on the PATH." >&2
	      echo "Install pip (Debian: apt-get install python3-pip) or uv, and run this again." >&2
	      exit 1
	    }
	  fi
	fi
	echo "Installing Waggle's packages into $(VENV)"
	[ -x $(RUN) ] || "$$uv" venv --quiet --clear --python "$(PYTHON)" "$(VENV)"
	"$$uv" pip sync --quiet --require-hashes --python $(RUN) requirements.lock
	cp requirements.lock "$(VENV)/installed.lock"

demo: setup ## Run the sample swarm to its end; GOAL="…" REPO=… for your own, RUNTIME=opencode for other agents
	@case "$(RUNTIME)" in opencode|acp) $(RUN) -m agents.runtimes.opencode.install "$(DATA)/tools" >/dev/null;; esac
	exec $(RUN) manage.py demo $${GOAL:+--goal "$$GOAL"} $${REPO:+--repo "$$REPO"} $(if $(RUNTIME),--runtime "$(RUNTIME)") $(ARGS)

up: setup ## Run the whole platform until Ctrl-C
	@exec $(RUN) manage.py up $(ARGS)

runner: setup ## Run a runner beside its agents, with WAGGLE_URL and WAGGLE_RUNNER_TOKEN from the page of runners
	@exec $(RUN) -m agents.runner

test: setup test-tools ## Run the tests; ARGS="-k name" for some of them, JOBS=4 for more side by side
	@exec $(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# What tests need beside Python packages; those that miss something say that they were left out.
test-tools:
	@missing=""
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$$missing chromium"
	command -v bwrap >/dev/null || missing="$$missing bubblewrap"
	command -v git >/dev/null || missing="$$missing git"
	command -v rg >/dev/null || missing="$$missing ripgrep"
	$(RUN) -m agents.runtimes.opencode.install "$(DATA)/tools" >/dev/null \
	  || echo "Left out: OpenCode (see above); the tests that need it are skipped"
	[ -n "$$missing" ] || exit 0
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	  echo "Installing for the tests:$$missing"
	  apt-get update -qq || echo "apt-get update failed; going on with the lists that are there"
	  for package in $$missing; do
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$package >/dev/null \
	      || echo "Left out: $$package could not be installed; the tests that need it are skipped"
	  done
	else
	  echo "Left out:$$missing (install them with your system's packages); the tests that need them are skipped"
	fi

test-fresh: ## Run tests and demo in a fresh clone of the last commit
	@folder=$$(mktemp -d)
	trap 'rm -rf "$$folder"' EXIT
	git clone --quiet . "$$folder/waggle"
	cd "$$folder/waggle"
	unset VIRTUAL_ENV WAGGLE_DATA_DIR
	$(MAKE) test VENV=.venv
	$(MAKE) demo VENV=.venv

bench: setup ## Measure, with floors from the same run; AREA=engine, ARGS="dags idle" for some cases
	@exec $(RUN) -m bench $(if $(AREA),--area $(AREA)) $(ARGS)

chaos: setup ## Kill, stop, cut off and race everything while swarms run; ARGS=7 for another seed
	@exec $(RUN) -m bench.chaos $(ARGS)

lint: setup ## Check style, types and imports
	@$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy config swarms agents sessions tenants tests bench
	"$(VENV)/bin/lint-imports"

reset: setup ## Delete databases, repositories and logs in the data folder (asks; YES=1 does not)
	@exec $(RUN) manage.py reset $(if $(YES),--yes)

clean: ## Delete the virtual environment and caches; data stays
	@rm -rf "$(VENV)" .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
