# The user's doors. Variables reach the shell as its own variables, so that spaces and quotes in paths stay harmless.

PYTHON ?= python3.11
export PYTHON NAME DATASET ROOT DATA_ROOT SHARDS DETECTOR FRAMES SPLIT WORKERS START MODEL ANSWER_MODEL ARGS

RUN := .venv/bin/python -m
PIPELINE := $(RUN) pipelines run
# --set for each variable that was given; ARGS is passed on as it is. ROOT is a shorter name of DATA_ROOT.
ROOT_OPTION = $${ROOT:+--set "root=$$ROOT"} $${DATA_ROOT:+--set "root=$$DATA_ROOT"}
WORKERS_OPTION = $${WORKERS:+--set "workers=$$WORKERS"}
DATA_OPTIONS = $(ROOT_OPTION) $${DETECTOR:+--set "detector=$$DETECTOR"} $${FRAMES:+--set "frames=$$FRAMES"}
EXTRACT_OPTIONS = $(DATA_OPTIONS) $${SPLIT:+--set "split=$$SPLIT"} $(WORKERS_OPTION) $$ARGS
DATASET_OPTION = $${DATASET:+--set "dataset=$$DATASET"}
TASK_OPTIONS = $${SHARDS:+--set "shards=$$SHARDS"} $(DATA_OPTIONS)
FINETUNE_OPTIONS = $(TASK_OPTIONS) $${START:+--set "start=$$START"} $(WORKERS_OPTION) $$ARGS
# Where questions are all that is asked, MODEL is the one that answers them.
MODEL_KEY = $(if $(filter eval-%-qa,$@ $(NAME)),answer_model,model)
EVAL_OPTIONS = $(TASK_OPTIONS) $${MODEL:+--set "$(MODEL_KEY)=$$MODEL"} $${ANSWER_MODEL:+--set "answer_model=$$ANSWER_MODEL"} \
	$${SPLIT:+--set "split=$$SPLIT"} $${WORKERS:+--set "extract_workers=$$WORKERS"} $$ARGS

TASKS := msrvtt msvd lsmdc didemo msrvtt-qa msvd-qa tgif-qa

.DEFAULT_GOAL := help
.PHONY: help setup smoke test lint proof bench lock clean extract need-dataset doctor shapes-detector fixture \
	pretrain pretrain-4f pretrain-half pretrain-fifth finetune eval $(TASKS:%=finetune-%) $(TASKS:%=eval-%)

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

##@ Start here
setup: ## makes .venv with everything in it (PYTHON=/path/to/python3.11); quick when nothing changed
	@install/setup.sh

smoke: setup ## the whole journey on ten small videos, from annotations to an HTML report
	@$(PIPELINE) smoke $$ARGS

test: setup ## the tests, in two processes (ARGS=... goes to pytest)
	@$(RUN) pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder $$ARGS

##@ Run on your data
extract: need-dataset setup ## DATASET=name ROOT=folder [DETECTOR= FRAMES= SPLIT= WORKERS= ARGS=]: videos to region shards
	@$(PIPELINE) extract --set "dataset=$$DATASET" $(EXTRACT_OPTIONS)

need-dataset:
	@if [ -z "$$DATASET" ]; then \
		echo "say which data set, for example: make extract DATASET=folder ROOT=my/videos" >&2; \
		exit 2; fi

pretrain: ## [SHARDS="folder, folder" WORKERS= ARGS=]: pre-training on region shards (default: shards/webvid, shards/cc3m)
pretrain-4f: ## the same with 4 frames a clip
pretrain-half: ## the same on half of the data
pretrain-fifth: ## the same on a fifth of the data
pretrain pretrain-4f pretrain-half pretrain-fifth: setup
	@$(PIPELINE) $@ $${SHARDS:+--set "shards=[$$SHARDS]"} $(WORKERS_OPTION) $$ARGS

doctor: setup ## NAME=pipeline [and what its own target takes]: what would fail later, before a long run
	@case "$$NAME" in \
		finetune*) set -- $(DATASET_OPTION) $(FINETUNE_OPTIONS) ;; \
		eval*) set -- $(DATASET_OPTION) $(EVAL_OPTIONS) ;; \
		*) set -- $(DATASET_OPTION) $${SHARDS:+--set "shards=[$$SHARDS]"} $(EXTRACT_OPTIONS) ;; \
	esac; $(RUN) pipelines doctor "$$NAME" "$$@"

##@ Tune for a task: [START=model|scratch SHARDS= DATA_ROOT= DETECTOR= FRAMES= WORKERS= ARGS=]
finetune-msrvtt: ## MSR-VTT: retrieval and multiple choice; questions, where there are some
finetune-msvd: ## MSVD: retrieval
finetune-lsmdc: ## LSMDC: retrieval and multiple choice
finetune-didemo: ## DiDeMo: paragraph retrieval
finetune-msrvtt-qa: ## MSRVTT-QA: open-ended questions
finetune-msvd-qa: ## MSVD-QA: the same
finetune-tgif-qa: ## TGIF-FrameQA: the same
$(TASKS:%=finetune-%): setup
	@$(PIPELINE) $@ $(FINETUNE_OPTIONS)

finetune: need-dataset setup ## DATASET=name: any data set, also your own folder
	@$(PIPELINE) finetune $(DATASET_OPTION) $(FINETUNE_OPTIONS)

##@ Evaluate: [MODEL=model ANSWER_MODEL=model SHARDS= DATA_ROOT= DETECTOR= FRAMES= WORKERS= ARGS=]
eval-msrvtt: ## MSR-VTT: retrieval; multiple choice and questions, where there are some
eval-msvd: ## MSVD: retrieval
eval-lsmdc: ## LSMDC: retrieval and multiple choice
eval-didemo: ## DiDeMo: paragraph retrieval
eval-msrvtt-qa: ## MSRVTT-QA: open-ended questions
eval-msvd-qa: ## MSVD-QA: the same
eval-tgif-qa: ## TGIF-FrameQA: the same
$(TASKS:%=eval-%): setup
	@$(PIPELINE) $@ $(EVAL_OPTIONS)

eval: need-dataset setup ## DATASET=name: any data set, also your own folder
	@$(PIPELINE) eval $(DATASET_OPTION) $(EVAL_OPTIONS)

##@ Work on the code
lint: setup ## ruff: lint and format, without changing a file
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

proof: setup ## [ARGS="--scale small"]: the whole method measured on clips that make themselves, and a page of it
	@$(RUN) pipelines proof $$ARGS

bench: setup ## [NAME=check|start|extract|train|evaluate|proof ARGS=]: measured comparisons, each printing ratios; results/ holds what was measured
	@set -e; for name in $${NAME:-check start extract train evaluate}; do $(RUN) bench.$$name $$ARGS; done

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
