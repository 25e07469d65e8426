# The user's doors. Variables reach the shell as its own variables, so that spaces and quotes in paths stay harmless.

PYTHON ?= python3.11
export PYTHON NAME DATASET ROOT DATA_ROOT SHARDS DETECTOR FRAMES SPLIT WORKERS ARGS

RUN := .venv/bin/python -m
PIPELINE := $(RUN) pipelines run
# --set for each variable that was given; ARGS is passed on as it is. ROOT is a shorter name of DATA_ROOT.
ROOT_OPTION = $${ROOT:+--set "root=$$ROOT"} $${DATA_ROOT:+--set "root=$$DATA_ROOT"}
WORKERS_OPTION = $${WORKERS:+--set "workers=$$WORKERS"}
EXTRACT_OPTIONS = $(ROOT_OPTION) $${DETECTOR:+--set "detector=$$DETECTOR"} $${FRAMES:+--set "frames=$$FRAMES"} \
	$${SPLIT:+--set "split=$$SPLIT"} $(WORKERS_OPTION) $$ARGS

.DEFAULT_GOAL := help
.PHONY: help setup smoke test lint bench lock clean extract need-dataset doctor eval-msrvtt shapes-detector fixture \
	pretrain pretrain-4f pretrain-half pretrain-fifth

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

##@ Start here
setup: ## makes .venv with everything in it (PYTHON=/path/to/python3.11); quick when nothing changed
	@install/setup.sh

smoke: setup ## the whole journey on ten small videos, from annotations to an HTML report
	@$(PIPELINE) smoke $$ARGS

test: setup ## the tests (ARGS=... goes to pytest)
	@$(RUN) pytest $$ARGS

##@ Run on your data
extract: need-dataset setup ## DATASET=name ROOT=folder [DETECTOR= FRAMES= SPLIT= WORKERS= ARGS=]: videos to region shards
	@$(PIPELINE) extract --set "dataset=$$DATASET" $(EXTRACT_OPTIONS)

need-dataset:
	@if [ -z "$$DATASET" ]; then \
		echo "make extract: say which data set, for example: make extract DATASET=folder ROOT=my/videos" >&2; \
		exit 2; fi

pretrain: ## [SHARDS="folder, folder" WORKERS= ARGS=]: pre-training on region shards (default: shards/webvid, shards/cc3m)
pretrain-4f: ## the same with 4 frames a clip
pretrain-half: ## the same on half of the data
pretrain-fifth: ## the same on a fifth of the data
pretrain pretrain-4f pretrain-half pretrain-fifth: setup
	@$(PIPELINE) $@ $${SHARDS:+--set "shards=[$$SHARDS]"} $(WORKERS_OPTION) $$ARGS

eval-msrvtt: setup ## DATA_ROOT=folder [DETECTOR= FRAMES= WORKERS= ARGS=]: text-to-video retrieval on MSR-VTT
	@$(PIPELINE) eval-msrvtt $(EXTRACT_OPTIONS)

doctor: setup ## NAME=pipeline [and what its own target takes]: what would fail later, before a long run
	@$(RUN) pipelines doctor "$$NAME" $${DATASET:+--set "dataset=$$DATASET"} \
		$${SHARDS:+--set "shards=[$$SHARDS]"} $(EXTRACT_OPTIONS)

##@ Work on the code
lint: setup ## ruff: lint and format, without changing a file
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

bench: setup ## [NAME=check|extract|train|evaluate ARGS=]: measured comparisons, each printing ratios; results/ holds what was measured
	@set -e; for name in $${NAME:-check extract train evaluate}; do $(RUN) bench.$$name $$ARGS; done

lock: setup ## remakes the hash-pinned locks from setup.cfg and install/bootstrap.in (ARGS=--upgrade)
	@set -e; compile() { .venv/bin/uv pip compile --quiet --python .venv/bin/python --universal --python-version 3.11 \
		--no-build-isolation --generate-hashes --no-header "$$@" $$ARGS; }; \
	compile install/bootstrap.in --output-file install/bootstrap.txt; \
	compile setup.cfg --extra dev --constraint install/bootstrap.in --output-file install/requirements.txt

shapes-detector: setup ## trains the small detector that the repository carries
	@$(RUN) extract train-shapes-detector $$ARGS

fixture: setup ## remakes the ten videos and annotations of tests/fixtures
	@$(RUN) data_specs make-shapes --videos 10 --seed 0 --layout msrvtt --out tests/fixtures/msrvtt10 $$ARGS

clean: ## removes caches and build leftovers; runs, shards, data and .venv stay
	@find . -path ./.venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf .pytest_cache .ruff_cache .hypothesis build dist regionvlp.egg-info
