# One virtual environment, .venv, serves every target. A stamp file in it remembers which extra is installed, so
# nothing is installed twice unless pyproject.toml changes.

PYTHON    ?=
# Another torch (make test TORCH=2.13.0) has an environment of its own, so that none is rebuilt.
TORCH     ?=
VENV      := .venv$(if $(TORCH),-torch-$(TORCH))
BIN       := $(VENV)/bin
WORKERS   ?= 2
MICRO_PROXIES ?= params,flops,trainable_layers,vkdnw,vkdnw_single,naswot,swap,linear_regions,jacov,zico,zen,synflow,snip,grasp,fisher,grad_norm,grad_sign,expressivity,progressivity,trainability,path_depth,pooled_paths,shortcuts,vkdnw_agg,az_nas,paths_agg
# A ranking belongs to one state of its table, so a table that has grown gets another folder.
MICRO_RANKS = runs/micro_ranks_$(shell cksum < docs/results/micro_table.csv | cut -d" " -f1)
DEMO_DIR  ?= runs/demo
DEMO_ARGS ?= --params-max 30M --flops-max 10G --strategy climb --iterations 40 --proxy vkdnw --seed 42 --img-size 32 --classes 100 --batch-size 2 --fold

# Compiled modules are kept even where the environment says not to: hundreds of processes load the package.
PYTEST     = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help demo test quick browser lint bench bench-table bench-scores experiment docs gallery clean
.DEFAULT_GOAL := help

help: ## list the targets
	@echo "UniNAS toolkit. The first target you make also makes $(VENV) and installs the package there."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.core ## search the UniNAS space from CoAtNet with VKDNW, on 32 px images and two of them, to be quick
	OMP_NUM_THREADS=1 $(BIN)/uninas search spaces/uninas.uni --start coatnet $(DEMO_ARGS) -o $(DEMO_DIR)
	@echo && echo "The run lies in $(DEMO_DIR):" && ls -1 $(DEMO_DIR)

test: $(VENV)/.test ## run the tests (PYTEST_ARGS="-k graph" narrows them)
	$(PYTEST) -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

quick: $(VENV)/.test ## run the story of the library, in seconds
	$(PYTEST) -q tests/test_story.py tests/test_architecture.py $(PYTEST_ARGS)

browser: $(VENV)/.browser ## test reports in a real browser; installs Debian's chromium where there is none
	@{ $(FIND_CHROMIUM); } >/dev/null || { sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
	    $$sudo apt-get update && $$sudo apt-get install -y --no-install-recommends chromium; }
	CHROMIUM=$$($(FIND_CHROMIUM)) $(PYTEST) tests/browser $(PYTEST_ARGS)

FIND_CHROMIUM := printenv CHROMIUM || command -v chromium || command -v chromium-browser || command -v google-chrome

lint: $(VENV)/.lint ## check style and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(VENV)/.test ## run the benchmarks of benchmarks/ (BENCH_ARGS are passed on)
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

experiment: $(VENV)/.core ## found against known, trained alike, by the plan in benchmarks/experiment.yaml (DATA=cifar.npz; resumable)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/experiment.py --data $(DATA) -o runs/experiment

bench-scores: $(VENV)/.core ## score the networks of that table by every proxy, and write the page of correlations (resumable)
	OMP_NUM_THREADS=1 $(BIN)/uninas rank --table docs/results/micro_table.csv --where first --init own --batch-size 32 \
	    --proxy $(MICRO_PROXIES) -o $(MICRO_RANKS) -j $(WORKERS)
	$(BIN)/python benchmarks/micro_page.py docs/results/micro_table.csv $(MICRO_RANKS) docs/results/micro_table.md

bench-table: $(VENV)/.core ## train random members of the UniNAS space at a micro size (DATA=cifar.npz; resumable)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/micro_table.py --data $(DATA) -o docs/results/micro_table.csv -j $(WORKERS)

docs: $(VENV)/.docs ## build docs/_build/index.html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "Open docs/_build/index.html"

gallery: $(VENV)/.core ## draw docs/gallery.md and its pictures anew
	$(BIN)/python docs/gallery.py

clean: ## remove environments, caches, built docs and runs/demo; other runs stay
	rm -rf .venv .venv-torch-* dist docs/_build runs/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find uninas tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# -- the virtual environment ---------------------------------------------------------------------------------

# The first of these that runs and is new enough; PYTHON=... overrules the choice.
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

# Target: pip, which venv writes last. --clear, so that half an environment or its stamps never linger.
$(BIN)/pip:
	@for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making $(VENV) with $$("$$python" --version)"; \
	        exec "$$python" -m venv --clear $(VENV); \
	    fi; \
	done; \
	echo "UniNAS toolkit needs Python 3.11 or newer, and none of these is:" $(CANDIDATES) >&2; \
	echo "Install one, or name yours: make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.core: pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV); torch is large, so the first time takes some minutes"
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

# Beyond the bounds of pyproject.toml pip warns, and installs all the same; torchvision follows torch.
OTHER_TORCH = "torch==$(TORCH)" torchvision

# Each extra holds the core too, so `make demo` after `make test` installs nothing.
$(VENV)/.test $(VENV)/.browser $(VENV)/.lint $(VENV)/.docs: $(VENV)/.%: pyproject.toml | $(BIN)/pip
	@echo "Installing into $(VENV) with what \`make $*\` needs; torch is large, so the first time takes some minutes"
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[$*]"
	$(if $(TORCH),$(BIN)/python -m pip install --disable-pip-version-check --upgrade $(OTHER_TORCH))
	@touch $@ $(VENV)/.core
