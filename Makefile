PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test test-slow fuzz kill test-gpu lint audit docs paper bench bench-scaling bench-gpu architectures

# one environment for everything; made again when what it is made from has changed
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

# beside other work, threads that wait without turning round are four times as fast; alone they are a tenth slower
test test-slow: export OMP_WAIT_POLICY ?= passive

# ARGS are the demo's own, such as ARGS="--out elsewhere"
demo: install
	$(BIN)/ia2 demo $(ARGS)

# a process for each processor, up to eight, of one thread: tiny networks are bound by Python, not by arithmetic
test: export OMP_NUM_THREADS ?= 1
test: install
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal $(ARGS)

# needs Chromium: apt-get install chromium
test-slow: .venv/installed-extras
	$(BIN)/python -m pytest -m slow $(ARGS)

# hours; IA2_FUZZ_EXAMPLES says how many inputs each parser is given
fuzz: export IA2_FUZZ_EXAMPLES ?= 100000
fuzz: install
	$(BIN)/python -m pytest -m slow -n 2 tests/fuzz $(ARGS)

# an hour; IA2_KILLS says how often each command is killed
kill: export IA2_KILLS ?= 100
kill: install
	$(BIN)/python -m pytest -m slow tests/kill $(ARGS)

# needs a CUDA GPU
test-gpu: install
	IA2_TEST_GPU=1 $(BIN)/python -m pytest -m gpu $(ARGS)

.venv/installed-extras: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,cluster,llamacpp,quantized,tensorboard,trackio,wandb]'
	touch $@

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# known vulnerabilities of the pinned dependencies that a newer version fixes; asks the OSV database
audit: .venv/audit/installed
	.venv/audit/bin/python .ci/audit.py

.venv/audit/installed: .venv/installed
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet pip-audit
	touch $@

# the site, in site/; NO_MKDOCS_2_WARNING keeps Material from advertising its successor
docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# every table and figure of the paper, what they have in common computed once; a GPU and days. ARGS="--dry-run" says how much
paper: install
	$(BIN)/ia2 run experiments/paper/*.yaml --out paper --store paper/store $(ARGS)

bench: install
	$(BIN)/python -m benchmarks $(ARGS)

bench-scaling: install
	$(BIN)/python -m benchmarks.scaling

# every causal kind that transformers knows, from end to end; writes docs/models.md. ARGS name kinds to try alone,
# whose rows alone are written after --write
architectures: install
	$(BIN)/python -m benchmarks.architectures $(ARGS)

# needs a GPU and nothing that is fetched
bench-gpu: install
	$(BIN)/python -m benchmarks.gpu
