# The verbs of this checkout; continuous integration calls the same. Needs Python 3.11, git and make, nothing else.

PYTHON ?= python3.11
CORES  ?= $(shell nproc 2>/dev/null || echo 2)
SCALE  ?= tiny
ENVS   ?= hpsv2 image-reward
BIN    := .venv/bin
STAMP  := .venv/.installed

# one thread per job: jobs, not threads, fill the cores
export OMP_NUM_THREADS := 1

.PHONY: help setup tiny report test cluster-test envs check clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(STAMP)  ## make .venv and install; does nothing when it is up to date

$(STAMP): pyproject.toml requirements.lock requirements-nodeps.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there; install Python 3.11, or say PYTHON=/path/to/it"; exit 1; }
	@test -x $(BIN)/python || { echo "Making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv .venv; }
	@echo "Installing (about 6 GB with the pinned torch; a few minutes) ..."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c requirements.lock -e '.[dev,cluster]'
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements-nodeps.lock
	@touch $@

tiny: setup  ## the main job on this CPU: teacher, students, Table 4, Figures 5 to 8, report
	@$(BIN)/python -m amd build main --scale $(SCALE) --cores $(CORES)

report: setup  ## the HTML report of the main job, from what has been built
	$(BIN)/snakemake --quiet all --config scale=$(SCALE) --report results/$(SCALE)/report.html -- main
	@echo results/$(SCALE)/report.html

test: setup  ## every test, on two workers
	$(BIN)/python -m pytest -n 2 --dist loadfile

cluster-test: setup  ## jobs on a Slurm cluster that is started on this machine (as root, on Debian; else it skips)
	$(BIN)/python -m pytest tests/cluster

envs: setup  ## environments of scorers by their own packages, those of images (12 GB); ENVS="vbench videoalign": of clips
	$(BIN)/snakemake --cores 1 --quiet rules -- $(ENVS:%=.envs/%/environment.json)

check: setup  ## ruff, mypy, import contracts, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/python workflow/lint.py

clean:  ## caches only; weights and results are yours: rm -r checkpoints/tiny state/tiny results/tiny
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build *.egg-info
	find amd tests workflow benchmarks -name __pycache__ -type d -exec rm -rf {} +
