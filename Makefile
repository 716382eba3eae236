# Two commands do everything: `make audit` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# for example PIP_FLAGS='--extra-index-url URL' to take PyTorch's builds for CPUs from its own index
PIP_FLAGS ?=
STAMP  := $(VENV)/.installed

.PHONY: audit test lint types shapes fast slow campaign bench clean

audit: $(STAMP)
	$(BIN)/freerun audit

test: $(STAMP) lint types shapes fast slow

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

# the shapes and types of the statistics, checked while their tests run; left out: what is refused on purpose, and the
# certificates, which take numbers and arrays alike
shapes: $(STAMP)
	$(BIN)/pytest tests/stats --ignore tests/stats/test_certificates.py -k "not refused" --jaxtyping-packages=freerun.stats,beartype.beartype

fast: $(STAMP)
	$(BIN)/pytest -m "not model and not browser"

slow: $(STAMP)
	$(BIN)/pytest -m "model or browser"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "freerun needs Python 3.11 or later; name one with: make PYTHON=python3.12 audit"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable '.[hf,dev]'
	@touch $(STAMP)

# long simulations; what they find is committed under docs/data and docs/images
campaign: $(STAMP)
	$(BIN)/python campaigns/miss_rates.py
	$(BIN)/python campaigns/power.py
	$(BIN)/python campaigns/sampler_audit.py
	$(BIN)/python campaigns/source_gap.py
	$(BIN)/python campaigns/dose_response.py
	$(BIN)/python campaigns/take_over.py
	$(BIN)/python campaigns/self_detector.py
	$(BIN)/python campaigns/comparisons.py
	$(BIN)/python campaigns/long_run.py

# side by side with peers, which live in environments of their own; an hour and a half on a machine that does nothing else
PEERS := .venv-peers/.installed
$(PEERS): bench/peers/setup.py bench/peers/requirements.txt bench/peers/requirements-vllm.txt
	$(PYTHON) bench/peers/setup.py --pip-flags='$(PIP_FLAGS)'
	@touch $@

bench: $(STAMP) $(PEERS)
	$(BIN)/python bench/engine.py --json docs/data/bench-engine.json
	$(BIN)/python bench/steps.py --json docs/data/bench-steps.json
	$(BIN)/python bench/cost.py --json docs/data/bench-cost.json
	$(BIN)/python bench/findings.py --json docs/data/bench-findings.json
	$(BIN)/python bench/source.py --json docs/data/bench-source.json
	$(BIN)/python bench/table.py

clean:
	rm -rf $(VENV) .venv-peers .venv-peers-vllm
