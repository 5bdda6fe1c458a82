# Input-derivative benchmarks. `make` alone prints the targets.
#
#   make bench GRID=smoke DEVICE=cpu ONLY=vmap-jacrev
#   make test VENV= PYTHON=python3        use the python that is there, install nothing

VENV   ?= .venv
PYTHON ?= $(if $(VENV),$(VENV)/bin/python,python3)
BASE_PYTHON ?= python3

GRID    ?= default
DEVICE  ?= cpu
PASSES  ?= 3
RESULTS ?= results
PUBLISHED ?= docs/published/cpu.jsonl.gz
HELDOUT   ?= docs/published/heldout-cpu.jsonl.gz
CHOICE    ?= docs/published/choice-cpu.jsonl.gz
SKEWED    ?= docs/published/skewed-cpu.jsonl.gz
# The rule is of runs in which nothing chose by it.
RULE_RUNS ?= docs/published/rule/cpu.jsonl.gz $(CHOICE) $(SKEWED)
ONLY    ?=
JOBS    ?= 2
WORKLOAD   ?=
STRATEGIES ?=
COUNTERS   ?=

READY := $(if $(VENV),$(VENV)/.ready)

own = --device $(DEVICE) \
	$(foreach part,$(ONLY),--only '$(part)') \
	$(foreach file,$(WORKLOAD),--workload '$(file)') \
	$(foreach file,$(STRATEGIES),--strategies '$(file)')
select = --grid $(GRID) $(own)
# The counters have a small grid of their own.
counted = $(own) $(foreach file,$(COUNTERS),--counters '$(file)')

.DEFAULT_GOAL := help
.PHONY: help setup bench advise list verify coverage counters regress limits rule regret test method check format report publish readme clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  variables: GRID=$(GRID) DEVICE=$(DEVICE) PASSES=$(PASSES) ONLY= WORKLOAD= STRATEGIES= COUNTERS= JOBS=$(JOBS) VENV=$(VENV) PYTHON="

setup: $(READY) ## make .venv and install what the suite needs

# torch alone and first: a plain resolve on Linux would fetch the CUDA wheels, several gigabytes.
# A torch that the environment already has stays.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(BASE_PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -c 'import torch' 2>/dev/null || $(VENV)/bin/pip install -q "$$(grep '^torch==' constraints.txt)"
	$(VENV)/bin/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

bench: $(READY) ## measure GRID on DEVICE, write the page, print its path
	@run=$$($(PYTHON) -m bench run $(select) --passes $(PASSES) --results $(RESULTS)); code=$$?; \
	if [ -n "$$run" ]; then $(PYTHON) -m reports summary "$$run" && $(PYTHON) -m reports html "$$run"; fi; \
	exit $$code

advise: $(READY) ## measure WORKLOAD=FILE.py:function in a minute, print which strategy to use
	@$(PYTHON) -m bench advise $(foreach file,$(WORKLOAD),--workload '$(file)') --device $(DEVICE) \
		--passes $(PASSES) --results $(RESULTS)

list: $(READY) ## print the ids of the cases of GRID
	@$(PYTHON) -m bench list $(select)

verify: $(READY) ## compare every case of GRID with its reference, without timing
	@$(PYTHON) -m bench check $(select)

coverage: $(READY) ## ask every strategy for the derivatives of every probe; 1 if torch is newly wrong
	@$(PYTHON) -m bench coverage --results $(RESULTS)

counters: $(READY) ## write what is exact of every case into tests/counters/: review the diff
	@OMP_NUM_THREADS=1 $(PYTHON) -m bench counters $(counted)

regress: $(READY) ## compare every case with tests/counters/; 1 for any difference, more or less
	@OMP_NUM_THREADS=1 $(PYTHON) -m bench counters --check $(counted)

limits: $(READY) ## print the fastest strategies beside torch's own and their bars; ONLY= selects
	@OMP_NUM_THREADS=1 $(PYTHON) docs/limits.py $(foreach part,$(ONLY),--only '$(part)') $(if $(INTO),--into $(INTO))

rule: $(READY) ## fit the rule of auto to RULE_RUNS, print how well it does
	@$(PYTHON) -m reports fit $(RULE_RUNS) --into strategies/rule.json

# As many passes as an interval of 15 % takes.
regret: PASSES = 8
regret: $(READY) ## measure networks that nothing was fitted to: how far choices are from the best
	@run=$$($(PYTHON) docs/regret.py --device $(DEVICE) --passes $(PASSES) --results $(RESULTS)); \
	code=$$?; if [ -n "$$run" ]; then $(PYTHON) -m reports summary "$$run"; fi; exit $$code

test: $(READY) ## run the tests, JOBS at once
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist worksteal)

method: $(READY) ## run the tests that `make test` leaves out because they are long
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m slow -rP

check: $(READY) ## format, lint, types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format: $(READY) ## rewrite the files as `make check` wants them
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

report: $(READY) ## write the page of the newest run
	@run=$$(ls -t $(RESULTS)/*.jsonl 2>/dev/null | head -n 1); \
	if [ -z "$$run" ]; then echo "no result file in $(RESULTS)/; run make bench first" >&2; exit 2; fi; \
	$(PYTHON) -m reports html "$$run"

readme: $(READY) ## the tables and pictures of README and docs/choosing.md, from PUBLISHED
	$(PYTHON) -m reports export $(PUBLISHED) --into README.md
	$(PYTHON) -m reports choosing $(PUBLISHED) --beside $(CHOICE) --beside $(SKEWED) --heldout $(HELDOUT) --into docs/choosing.md
	mkdir -p $(RESULTS)
	$(PYTHON) -m reports html $(PUBLISHED) -o $(RESULTS)/published.html
	$(PYTHON) docs/pictures.py $(RESULTS)/published.html docs/images

# Of a run in RESULTS what is kept beside the code.
publish: $(READY) ## keep RUN=FILE.jsonl as PUBLISHED, in fewer bytes
	@$(PYTHON) -m reports pack $(RUN) -o $(PUBLISHED)

clean: ## remove what was generated (results and .venv stay)
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +
