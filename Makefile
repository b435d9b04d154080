# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11

BIN := .venv/bin
# Named by the content of envs/: a changed pin makes a new environment, a touched file does not.
ENVS := $(sort $(wildcard envs/*.txt))
READY := .venv/ready-$(shell cat $(ENVS) | sha256sum | cut -c1-16)
# SGLang asks for CUDA packages that a CPU has no use for; its own files list what it really imports.
NODEPS := $(wildcard envs/*-nodeps.txt)
# Two processes, whatever the machine: a run of the workflow takes up to 4 GB.
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Snakemake's own words about a file that is missing or broken are a traceback, or do not name it.
CHECKED = $(if $(CONFIG),$(BIN)/python rules/settings_file.py $(CONFIG))
# The image's own Python, with pytest beside it.
IN_IMAGE = BESIDE=$$(mktemp -d) && trap 'rm -rf "$$BESIDE"' EXIT && \
  $(BIN)/python -m pip install --quiet --no-deps --target "$$BESIDE" -r envs/test-cuda.txt && \
  apptainer exec --nv --bind /dev/shm --bind "$$BESIDE" --env "PYTHONPATH=$$BESIDE" $(IMAGE) python
PACKAGES := $(filter-out envs/constraints.txt %-cuda.txt $(NODEPS),$(ENVS))

.PHONY: help deck containers archive compare test test-long test-gpu test-cluster plan check-profile lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "make deck CONFIG=config/null.yaml runs another configuration."

deck: $(READY) ## results/<run>/leverage-<L>/deck.pptx: the demo from market bars to slides, about 5 minutes
	@$(CHECKED)
	@$(BIN)/snakemake --cores all $(if $(CONFIG),--configfile $(CONFIG))

containers: $(READY) ## build the container images that are missing; needs Apptainer
	@$(CHECKED)
	@$(BIN)/snakemake --cores all --quiet rules progress $(if $(CONFIG),--configfile $(CONFIG)) -- containers

archive: $(READY) ## results/<run>/archive/<run>.zip: one file from which others verify, replay and retrain the run
	@$(CHECKED)
	@$(BIN)/snakemake archive --cores all $(if $(CONFIG),--configfile $(CONFIG))

compare: $(READY) ## two runs side by side: make compare A=results/one B=two.zip (PAGE=page.html)
	@$(if $(and $(A),$(B)),,echo "Say which: make compare A=results/one B=two.zip" >&2; exit 1)
	@$(BIN)/python scripts/compare.py $(A) $(B) $(if $(PAGE),--page $(PAGE))

test: $(READY) ## unit tests, and the whole workflow at minimal size, about 15 minutes
	@$(BIN)/python -m pytest -m "not long and not gpu" $(PARALLEL) $(ARGS)

test-cluster: $(READY) ## real Slurm and Apptainer, set up for it as root on Debian 12, about 17 minutes
	@$(BIN)/python -m pytest -rs tests/cluster $(ARGS)

test-long: $(READY) ## the long tests: the whole demo and more, up to 2 hours (ARGS="-k words" for some)
	@$(BIN)/python -m pytest -m long $(ARGS)

test-gpu: $(READY) ## what needs a GPU, in .venv or in IMAGE=<file>.sif; numbers to benchmarks/results/ (GPU_RESULTS=folder: there)
	@$(if $(IMAGE),$(IN_IMAGE),$(BIN)/python) -m pytest -rs -m gpu $(wildcard tests/workflow/test_gpu*.py) $(ARGS)

plan: $(READY) ## what the next run would do, and what it takes (CONFIG=..., PROFILE=slurm for one on a cluster, GPU=h200)
	@$(BIN)/python rules/plan.py $(if $(CONFIG),--configfile $(CONFIG)) $(if $(PROFILE),--profile $(PROFILE)) $(if $(GPU),--gpu $(GPU))

check-profile: $(READY) ## find what Snakemake would ignore in slurm/config.yaml
	@$(BIN)/python rules/check_profile.py $(PROFILE)

lint: $(READY) ## ruff, snakefmt and snakemake --lint, changing nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/snakefmt --check Snakefile rules
	@$(BIN)/snakemake --lint

clean: ## remove the environment and caches; results/ and Snakemake's records of them stay
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './results/*' -prune -exec rm -rf {} +

# pip's own words go to .venv/install.log; on the terminal there is a line now and then.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 is needed: '$(PYTHON)' is not there or is another version. Install it (Debian 12: apt-get install python3.11 python3.11-venv), or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. Install it (Debian 12: apt-get install python3.11-venv)." >&2; exit 1; }
	@echo "Setting up .venv: installing $$(grep -c == envs/constraints.txt) packages (3 GB), about 3 minutes, once"
	@$(PYTHON) -m venv --clear .venv
	@pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --no-input --progress-bar off "$$@" 2>&1 | tee -a .venv/install.log | \
	   awk '/^ *(Collecting|Processing) /{if (++n % 25 == 0) {print "  " n " packages found"; fflush()}} /^Installing collected/{print "  unpacking"; fflush()}'; }; \
	 { pip $(addprefix -r ,$(PACKAGES)) && $(if $(NODEPS),pip --no-deps $(addprefix -r ,$(NODEPS)),true); } || \
	  { tail -n 5 .venv/install.log >&2; echo "Installing failed; all that pip said is in .venv/install.log. Mend the cause and type the same command again." >&2; exit 1; }
	@touch $@
	@echo "Set up."
