# Two commands do everything: `make audit` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# for example PIP_FLAGS='--extra-index-url URL' to take PyTorch's builds for CPUs from its own index
PIP_FLAGS ?=
STAMP  := $(VENV)/.installed
# tests run in so many processes of one thread each; a file stays in one of them, so that what it builds is built once
WORKERS ?= 2
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# tests start Python many times: it compiles each module once
unexport PYTHONDONTWRITEBYTECODE

.PHONY: audit test lint types shapes rest fast slow studies gpu bench clean

audit: $(STAMP)
	$(BIN)/freerun audit

# what fails soonest first; the statistics run once, under `shapes`
test: $(STAMP)
	$(MAKE) --no-print-directory --jobs=2 lint types shapes
	$(MAKE) --no-print-directory rest

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

# the shapes and types of the statistics, checked while their tests run; tests/stats/conftest.py says what is left out
shapes: $(STAMP)
	$(PYTEST) tests/stats -m shapes --jaxtyping-packages=freerun.stats,beartype.beartype

rest: $(STAMP)
	$(PYTEST) -m "not shapes"

fast: $(STAMP)
	$(PYTEST) -m "not model and not browser"

slow: $(STAMP)
	$(PYTEST) -m "model or browser"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "freerun needs Python 3.11 or later; name one with: make PYTHON=python3.12 audit"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable '.[hf,dev]'
	@touch $(STAMP)

# long simulations; what they find stands beside them; the sample pages of comparisons go to runs/examples
studies: $(STAMP)
	$(BIN)/python -m studies.coverage.run
	$(BIN)/python -m studies.two_laws.run
	$(BIN)/python -m studies.power.run
	$(BIN)/python -m studies.sampler_audit.run
	$(BIN)/python -m studies.source_gap.run
	$(BIN)/python -m studies.dose_response.run
	$(BIN)/python -m studies.take_over.run
	$(BIN)/python -m studies.self_detector.run
	$(BIN)/python -m studies.comparisons.run
	$(BIN)/python -m studies.long_run.run
	$(BIN)/python -m studies.families.run
	$(BIN)/python -m studies.faults.run
	$(BIN)/python -m studies.organism_weights.run

# side by side with peers, which live in environments of their own; an hour and a half on a machine that does nothing else
PEERS := .venv-peers/.installed
$(PEERS): bench/peers/setup.py bench/peers/requirements.txt bench/peers/requirements-vllm.txt
	$(PYTHON) bench/peers/setup.py --pip-flags='$(PIP_FLAGS)'
	@touch $@

# all that needs an accelerator, on a machine that has one; nothing is fetched
gpu: $(STAMP)
	$(BIN)/python -m bench.gpu --json docs/data/bench-gpu.json

bench: $(STAMP) $(PEERS)
	$(BIN)/python bench/engine.py --json docs/data/bench-engine.json
	$(BIN)/python bench/steps.py --json docs/data/bench-steps.json
	$(BIN)/python bench/cost.py --json docs/data/bench-cost.json
	$(BIN)/python bench/findings.py --json docs/data/bench-findings.json
	$(BIN)/python bench/source.py --json docs/data/bench-source.json
	$(BIN)/python bench/servers.py --json docs/data/bench-servers.json
	$(BIN)/python bench/two_models.py --json docs/data/bench-two-models.json
	$(BIN)/python bench/loops.py --json docs/data/bench-loops.json
	$(BIN)/python bench/lab.py --json docs/data/bench-lab.json
	test ! -x .venv-peers-vllm/bin/python || \
	  .venv-peers-vllm/bin/python bench/peers/run_vllm_engine.py --json docs/data/bench-vllm-engine.json
	$(BIN)/python bench/explore.py --json docs/data/bench-explore.json
	$(BIN)/python -m studies.scaling.run
	$(BIN)/python bench/table.py

clean:
	rm -rf $(VENV) .venv-peers .venv-peers-vllm
