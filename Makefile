# `make demo` and `make test` each make .venv, install what they need, and do their job; the second run installs nothing.
# PYTHON=python3.12 chooses another interpreter for a new .venv.
# A smaller PyTorch, without CUDA: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGING := setup.cfg pyproject.toml

# Stamps say which set of extras .venv holds; they are as old as the installation.
RUN_STAMP := $(VENV)/.installed-run
TEST_STAMP := $(VENV)/.installed-test
OFFLINE_STAMP := $(VENV)/.installed-offline
DOCS_STAMP := $(VENV)/.installed-docs

# Processes that share the tests, each with those of one file at a time, in the order of tests/conftest.py; 0: none
# beside pytest's own. One more than two cores have: some tests wait.
PROCESSES ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: demo docs installed test test-all coverage fuzz lint conformance faults offline-gpu compare-methods

demo: $(RUN_STAMP)
	@$(BIN)/python -m tools.demo

# What fails when something breaks, in a few minutes.
test: $(TEST_STAMP)
	@$(PYTEST) -m "not slow"

test-all: $(TEST_STAMP)
	@$(PYTEST)

# The tests, and how much of the package they run: modules under 85 % are named, less than 92 % in all fails. Nothing
# slower from Python 3.12 on, which tells by itself what runs; before, slow tests, sweeps and later cases of a test do
# not count (tests/conftest.py).
coverage: $(TEST_STAMP)
	@mkdir -p build
	@COVERAGE_CORE=$$($(BIN)/python -c "import sys; print('sysmon' if sys.version_info >= (3, 12) else 'ctrace')") \
		$(PYTEST) --cov --cov-report= --cov-report=json:build/coverage.json
	@$(BIN)/python -m tests.uncovered build/coverage.json

# Mutated files of every kind that comes from outside, five minutes each: FUZZ="--seconds 30 --target cfg" make fuzz
fuzz: $(TEST_STAMP)
	@$(BIN)/python -m tests.fuzz $(FUZZ)

# Every kernel and whole networks on four OpenCL drivers; installs what is missing, from Debian where root runs it.
conformance: $(TEST_STAMP)
	@$(BIN)/python -m pytest tests/conformance

# Processes killed at random moments, full and read-only disks, locks, signals, workers, closed streams: an hour.
# FAULTS_KILLS=3 make faults is a quick look.
faults: $(TEST_STAMP)
	@$(BIN)/python -m pytest tests/faults tests/cli/test_unwritable.py tests/cli/test_places.py tests/cli/test_streams.py \
		tests/tiles/test_under_way.py tests/tuning/test_pool.py tests/container/test_pair.py tests/training/test_killed.py

# Every kernel compiled for GPUs that are not here; installs clang with apt-get where root runs it.
offline-gpu: $(OFFLINE_STAMP)
	@$(BIN)/python -m tools.offline

# Every pruning method retrained and measured: hours on few cores; a killed run goes on where it was.
# A look at the way in under five minutes: COMPARE=--quick make compare-methods
compare-methods: $(TEST_STAMP)
	@$(BIN)/python -m tools.compare.methods $(COMPARE)

# The documentation as a site in build/site; a warning fails it.
docs: $(DOCS_STAMP)
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs build/site
	@echo "build/site/index.html"

# What lint, tests and docs need.
installed: $(TEST_STAMP) $(DOCS_STAMP)

lint: $(TEST_STAMP)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check --quiet .
	@$(BIN)/python -m mypy --strict clprune

$(RUN_STAMP): $(PACKAGING) | $(BIN)/pip
	@echo "Installing clprune with an OpenCL driver for the CPU (about 0.6 GB)"
	@$(PIP) install --editable '.[cpu,data]'
	@touch $@

# The tests run with exactly the versions in constraints.txt: where one cannot be had, this stops.
$(TEST_STAMP): $(PACKAGING) constraints.txt | $(BIN)/pip
	@echo "Installing clprune with what training and the tests need (1 GB; 4 GB where PyTorch brings CUDA)"
	@$(PIP) install --constraint constraints.txt --editable '.[cpu,train,dev,research,onnx,coco,video,distributed]'
	@touch $@

$(OFFLINE_STAMP): $(PACKAGING) constraints.txt | $(BIN)/pip
	@echo "Installing clprune with NVIDIA's assembler (60 MB)"
	@$(PIP) install --constraint constraints.txt --editable '.[offline]'
	@touch $@

$(DOCS_STAMP): $(PACKAGING) constraints.txt | $(BIN)/pip
	@echo "Installing clprune with what builds its documentation (60 MB)"
	@$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "clprune needs Python 3.10 or later, $(PYTHON) is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)
